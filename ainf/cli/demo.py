"""``ainf demo``: a simulated provider and a real gateway on free ports, and three streams with three endings.

Everything is what ``ainf serve`` runs: the same configuration file, store, server and commands, in a folder that is
removed at the end. Only the provider is simulated.
"""

import json
import secrets
import signal
import tempfile
from io import StringIO
from pathlib import Path
from typing import Any, Final

import attrs
import click
import trio

from ainf.app import RunningGateway, new_id, running_gateway, upstream_limits, wall_clock
from ainf.cli.output import print_table
from ainf.config import load_config
from ainf.inference.money import format_usd, parse_usd
from ainf.simulator import Simulator
from ainf.sse import EventStreamReader
from ainf.store import admin, caps, rights
from ainf.store.counting import Scope
from ainf.store.transaction import Transaction
from ainf.telemetry import Telemetry
from ainf.upstream.client import UpstreamClient
from ainf.upstream.request import UpstreamRequest

_MODEL: Final = "sim-tokens-80-pace-10ms"
# A provider that runs past the limit it was given: what ends the stream is the gateway's own count.
_LONG_MODEL: Final = "sim-tokens-3000-unlimited-pace-1ms"
_CAP: Final = "0.003"
_CAP_AFTERWARDS: Final = "1.00"
"""So that whoever asks by hand gets an answer."""
_CONFIG: Final = """\
[server]
bind = ["127.0.0.1:0"]
drain_s = 2

[store]
url = "sqlite:demo.db"

[providers.simulated]
format = "openai-compatible"
base_url = "{base_url}"
api_key_env = "DEMO_PROVIDER_KEY"

[models.demo]
provider = "simulated"
upstream_model = "{model}"
max_output_tokens = 4096
price = {{ input = "0.15", cached_input = "0.075", output = "0.60" }}

[models.demo-long]
provider = "simulated"
upstream_model = "{long_model}"
max_output_tokens = 4096
price = {{ input = "0.15", cached_input = "0.075", output = "2.00" }}
"""


@attrs.define
class _Stream:
    """What a client has seen of one stream."""

    inference_id: str
    finish_reason: str | None = None
    text: str = ""
    frames: int = 0

    def take(self, payloads: list[bytes]) -> str:
        """Take the frames of one read; return their text."""
        read = ""
        for payload in payloads:
            if payload == b"[DONE]":
                continue
            self.frames += 1
            for choice in json.loads(payload)["choices"]:
                read += choice["delta"].get("content") or ""
                self.finish_reason = choice["finish_reason"] or self.finish_reason
        self.text += read
        return read


@click.command()
@click.option("--once", is_flag=True, help="Exit after the three streams instead of serving on.")
def demo(once: bool) -> None:  # noqa: FBT001 - click hands options over as they are
    """Show three streams and how each ends: by itself, by the client, by a cap."""
    with tempfile.TemporaryDirectory(prefix="ainf-demo-") as folder:
        trio.run(_demo, Path(folder), once)


async def _demo(folder: Path, once: bool) -> None:  # noqa: FBT001 - as above
    async with trio.open_nursery() as nursery:
        simulator = Simulator(api_key="demo-provider-key")
        base_url = await nursery.start(simulator.serve)
        path = folder / "ainf.toml"
        await trio.Path(path).write_text(
            _CONFIG.format(base_url=base_url, model=_MODEL, long_model=_LONG_MODEL), encoding="utf-8"
        )
        config = load_config(path, {"DEMO_PROVIDER_KEY": "demo-provider-key"})
        async with running_gateway(config, Telemetry(StringIO())) as running:
            click.echo(f"simulated provider  {base_url}")
            click.echo(f"ainf                {running.url}\n")
            key = await _make_account(running)
            await _show(running, simulator, key)
            if not once:
                await _set_cap(running, _CAP_AFTERWARDS)
                _show_how_to_ask(running.url, key)
                await _wait_for_ctrl_c()
        nursery.cancel_scope.cancel()


async def _make_account(running: RunningGateway) -> str:
    """Make an account ``demo`` with a key and a lifetime cap, as the commands do."""
    key_id, secret, at = secrets.token_hex(5), secrets.token_bytes(24), wall_clock()
    key = admin.key_text(key_id, secret)

    def make(tx: Transaction) -> None:
        admin.create_account(tx, account_id=new_id("acc"), name="demo", parent=None, at=at)
        admin.create_key(
            tx, key_id=key_id, digest=admin.digest_of(key), account="demo", rights=rights.KeyRights(), at=at
        )

    await running.store.write(make)
    await _set_cap(running, _CAP)
    click.echo(f"account demo        lifetime cap ${_CAP}\nkey                 {key}\n")
    return key


async def _set_cap(running: RunningGateway, usd: str) -> None:
    cap_id, limit, at = new_id("cap"), parse_usd(usd), wall_clock()

    def set_cap(tx: Transaction) -> None:
        caps.set_cap(tx, cap_id=cap_id, scope=Scope(caps.subject_of(tx, account="demo")), limit_nusd=limit, at=at)

    await running.store.write(set_cap)


async def _show(running: RunningGateway, simulator: Simulator, key: str) -> None:
    """Run the three streams, then lay their receipts beside what the provider billed."""
    client = UpstreamClient(limits=upstream_limits(running.config.limits))
    try:
        click.secho("1. A stream that ends by itself", bold=True)
        whole = await _stream(client, running.url, key, "demo", show=True)
        click.secho("\n2. A client that leaves in the middle", bold=True)
        left = await _stream(client, running.url, key, "demo", leave_after=40)
        click.echo(f"   the client closed its connection after {len(left.text)} characters")
        click.secho("\n3. A stream that runs into the cap", bold=True)
        capped = await _stream(client, running.url, key, "demo-long")
        click.echo(f"   after {len(capped.text)} characters: finish_reason {capped.finish_reason!r}\n")
        receipts = [await _receipt(running, stream.inference_id) for stream in (whole, left, capped)]
    finally:
        client.close()
    caps_now = await running.store.read(lambda tx: caps.list_caps(tx, wall_clock()))
    _print_receipts(receipts, caps_now[0].settled_nusd, simulator)


async def _receipt(running: RunningGateway, inference_id: str) -> dict[str, Any]:
    """Wait for the settlement: a client that left is settled a moment after it left."""
    with trio.fail_after(10):
        while True:
            receipt = await running.store.receipt(inference_id)
            if receipt is not None and receipt["state"] == "settled":
                return receipt
            await trio.sleep(0.01)


def _print_receipts(receipts: list[dict[str, Any]], counted: int, simulator: Simulator) -> None:
    rows = [
        [
            receipt["inference_id"],
            receipt["ending"],
            receipt["finish_reason"] or "-",
            receipt["evidence"],
            str(receipt["usage"]["input_tokens"]),
            str(receipt["usage"]["output_tokens"]),
            format_usd(receipt["held_nusd"]),
            format_usd(receipt["settled_nusd"]),
            format_usd(receipt["overrun_nusd"]),
        ]
        for receipt in receipts
    ]
    head = ["receipt", "ending", "finish", "evidence", "in", "out", "held $", "settled $", "overrun $"]
    print_table(head, rows)
    _print_sums(receipts, counted, simulator)


def _print_sums(receipts: list[dict[str, Any]], counted: int, simulator: Simulator) -> None:
    """Lay the receipts beside the cap's own counter and the provider's books.

    Raises:
        click.ClickException: they do not add up.
    """
    billed = sum(receipt["settled_nusd"] + receipt["overrun_nusd"] for receipt in receipts)
    tokens = sum(receipt["usage"]["output_tokens"] for receipt in receipts)
    produced = simulator.books.totals().billed_output_tokens
    cap = parse_usd(_CAP)
    click.echo(f"\nreceipts together   ${format_usd(billed)}, {tokens} output tokens")
    click.echo(f"the cap's counter   ${format_usd(counted)} of ${format_usd(cap)} ({counted * 100 / cap:.1f} %)")
    click.echo(
        f"provider's books    {produced} output tokens; {produced - tokens} were on their way when they were cut\n"
    )
    if billed != counted or not 0 <= produced - tokens <= produced // 100:
        raise click.ClickException("the receipts do not add up")


async def _stream(
    client: UpstreamClient, url: str, key: str, model: str, *, show: bool = False, leave_after: int | None = None
) -> _Stream:
    """Ask for one stream and read it, to its end or until it is time to leave."""
    body = {"model": model, "stream": True, "messages": [{"role": "user", "content": "Tell me about streams."}]}
    headers = ((b"authorization", b"Bearer " + key.encode()), (b"content-type", b"application/json"))
    call = client.call(UpstreamRequest(f"{url}/v1/chat/completions", headers, json.dumps(body).encode()))
    reader = EventStreamReader(max_line_bytes=1 << 20, max_event_bytes=1 << 20)
    try:
        head = await call.start()
        if head.status != 200:
            raise click.ClickException((await call.read_error_body()).decode())
        seen = _Stream(head.get(b"x-ainf-inference-id").decode())
        while (leave_after is None or seen.frames < leave_after) and (data := await call.receive()):
            piece = seen.take(reader.receive(data).payloads)
            if show:
                click.echo(piece, nl=False)
    finally:
        call.abort()
    if show:
        click.echo(f"\n   finish_reason {seen.finish_reason!r}")
    return seen


def _show_how_to_ask(url: str, key: str) -> None:
    click.secho(f"Ask it yourself (the cap is ${_CAP_AFTERWARDS} now)", bold=True)
    body = '{"model": "demo", "stream": true, "messages": [{"role": "user", "content": "Hi"}]}'
    click.echo(
        f"  curl -N {url}/v1/chat/completions -H 'Authorization: Bearer {key}' \\\n"
        f"    -H 'Content-Type: application/json' -d '{body}'\n\n"
        "  from openai import OpenAI\n"
        f'  client = OpenAI(base_url="{url}/v1", api_key="{key}")\n'
        '  for chunk in client.chat.completions.create(model="demo", stream=True,\n'
        '          messages=[{"role": "user", "content": "Hi"}]):\n'
        '      print(chunk.choices[0].delta.content or "", end="")\n'
    )


async def _wait_for_ctrl_c() -> None:
    click.echo("Serving until Ctrl-C.")
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            return
