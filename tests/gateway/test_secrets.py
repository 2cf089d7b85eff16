"""I17: canaries in keys, content, labels, providers' answers and exceptions, and where they are looked for after."""

import json
import signal
import traceback
from typing import Any

import pytest
import trio
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from ainf.app import wall_clock
from ainf.cli.main import ainf
from ainf.exchange.attempt import Attempt
from ainf.formats.pipe import SniffingPipe
from ainf.http.credentials import Authenticator
from ainf.http.gateway import Gateway
from ainf.inference.errors import CODES
from ainf.inference.outcome import Ending, Evidence
from ainf.protocols.registry import PROTOCOLS
from ainf.providers.chat_vendor import ChatVendor
from ainf.routing.outcome import RoutingStatus
from ainf.simulator import Reset, Script, Send, Wait, chunk, head, last_chunk, whole
from ainf.store.burn import Burn
from ainf.store.store import Store
from ainf.upstream.client import UpstreamCall
from tests.gateway.away import stranded
from tests.gateway.canaries import (
    ANSWER,
    BODY,
    COOKIE,
    HOST,
    KEY,
    LABEL,
    MAY_STAND,
    MODEL,
    ORGANISATION,
    PROMPT,
    RAISED,
    WRONG_KEY,
    files,
    search,
    sightings,
)  # fmt: skip
from tests.gateway.dialects import DIALECTS, Dialect
from tests.gateway.live_client import eventually
from tests.gateway.process import Deployment, deployment
from tests.gateway.world import Client, World, question, world

LABELS = f"run={LABEL}"
TARGET = '[targets.auto]\nmodels = ["sim-error-500", "sim-error-503"]\naliases = ["any"]\n'
COMMANDS = (
    "check", "keys list", "accounts list", "caps list", "balances list", "audit verify", "audit burn", "usage",
    "ledger verify --json", "routing rules", "routing outcomes",
)  # fmt: skip
"""What may be asked beside a gateway that runs."""
PROVIDER_KEY = f"sk-{KEY}"


def asked(dialect: Dialect, model: str = "sim", **fields: Any) -> dict[str, Any]:
    """A question whose content is a canary wherever a client may put some."""
    body = json.loads(json.dumps(dialect.question(model, **fields)).replace("Count to ten.", PROMPT))
    return body | {"user": PROMPT} if dialect.format != "messages" else body | {"metadata": {"user_id": PROMPT}}


async def crowd(here: World, dialect: Dialect, key_id: str = "k0000001") -> list[Client]:
    """Clients with every kind of credential, label and content; answered, refused, and gone."""
    revoked = await here.new_key("agents", key_id=key_id)
    await here.store.write(lambda tx: tx.execute("UPDATE keys SET revoked_at = 1 WHERE key_id = ?", (key_id,)) and None)
    clients = [
        here.client(asked(dialect, stream=True), path=dialect.path, x_ainf_labels=LABELS),
        here.client(asked(dialect, stream=False), path=dialect.path, x_ainf_labels=LABELS),
        here.client(asked(dialect, MODEL), path=dialect.path),
        here.client(asked(dialect, model=PROMPT), path=dialect.path, x_ainf_labels=LABEL),
        here.client(asked(dialect) | {PROMPT: PROMPT, "n": PROMPT, "max_tokens": PROMPT}, path=dialect.path),
        here.client(json.dumps(asked(dialect)).encode()[:-7], path=dialect.path),
        here.client(asked(dialect), path=dialect.path, authorization=f"Bearer ainf_k0000000_{WRONG_KEY}"),
        here.client(asked(dialect), path=dialect.path, authorization=WRONG_KEY),
        here.client(asked(dialect), path=dialect.path, authorization=f"Basic {WRONG_KEY}"),
        here.client(asked(dialect), path=dialect.path, x_api_key=WRONG_KEY),
        here.client(asked(dialect), path=dialect.path, authorization=f"Bearer {revoked}"),
        here.client(asked(dialect), path=f"/v1/{WRONG_KEY}"),
        here.client(b"", path=f"/v1/audit/{PROMPT}"),
    ]
    in_query = here.client(asked(dialect), path=dialect.path, authorization="")
    in_query.scope["query_string"] = f"key={WRONG_KEY}&api_key={here.key}".encode()
    clients.append(in_query)
    for client in clients:
        await here.run(client)
    return clients


@pytest.mark.threat(120, "C7")
@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
async def test_nothing_that_clients_say_is_left(dialect, tmp_path, autojump_clock):
    """No key, right or wrong, and nothing of what was asked stands anywhere; labels stand in records alone."""
    async with world(tmp_path, "sim") as here:
        clients = await crowd(here, dialect)
        statuses = [client.status for client in clients]
        assert statuses[:3] == [200, 200, 404]
        assert statuses[6:11] == [401] * 5
        assert statuses[-1] == 401
        receipt = await here.get(f"/v1/audit/{clients[0].inference_id}")
        usage = [await here.get(path) for path in ("/v1/usage", "/v1/models", "/openapi.json", "/healthz", "/readyz")]
        seen = await search(here, *clients, receipt, *usage, also=["k0000001" * 2])
        assert seen == []
        assert LABEL in receipt.body.decode()
        assert LABEL not in "".join(text for client in clients for text in [client.body.decode(), *client.headers])


HEADERS = {
    "set-cookie": f"session={COOKIE}", "openai-organization": ORGANISATION, "server": HOST, "via": f"1.1 {HOST}",
    "x-served-by": HOST, "www-authenticate": f'Bearer realm="{KEY}"', "location": f"http://{HOST}/{KEY}",
    "retry-after": KEY, "x-ainf-model": HOST, "access-control-allow-origin": HOST,
}  # fmt: skip


def error_document(status: int) -> bytes:
    """What a careless provider says of its own inside."""
    begins = "Not a value" if status == 400 else "Incorrect API key provided"
    said = f"{begins}: {PROVIDER_KEY}. Asked by org-{ORGANISATION} of http://{HOST}/v1 ({BODY})."
    kind = "invalid_request_error" if status == 400 else "server_error"
    code, param = ("invalid_value", "messages") if status == 400 else (KEY, KEY)
    return json.dumps({"error": {"message": said, "type": kind, "code": code, "param": param, "trace": BODY}}).encode()


@pytest.mark.threat(116, 120)
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("status", [204, 307, 400, 401, 404, 429, 500])
async def test_nothing_that_providers_say_of_themselves_is_shown(status, stream, tmp_path, autojump_clock):
    """A refusal that quotes our key, its hosts, cookies and organisation reaches neither clients nor records."""
    async with world(tmp_path, "sim") as here:
        here.simulator.set_script(Script([whole(status, "application/json", error_document(status), HEADERS)]))
        client = await here.ask(stream=stream)
        assert client.status >= 400
        seen = await search(here, client, await here.get(f"/v1/audit/{client.inference_id}"))
        # A request's fault is told in the provider's words, without what looks like a key, an id or an address.
        assert [one for one in seen if (status, one.canary) != (400, BODY)] == []
        assert (BODY in client.body.decode()) is (status == 400)


@pytest.mark.threat(107, 118)
@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("ends", ["told", "garbage", "reset"])
async def test_nothing_behind_a_good_head_is_shown(dialect, ends, tmp_path, autojump_clock):
    """Headers of a 200 stay here; an error inside a stream is told without our key and the provider's inside."""
    said = chunk(f'data: {{"choices":[{{"index":0,"delta":{{"content":"{ANSWER}"}}}}]}}\n\n'.encode())
    then = {
        "told": [chunk(b"data: " + error_document(500) + b"\n\n"), last_chunk()],
        "garbage": [Send(f"{PROVIDER_KEY} {HOST}\r\n".encode())],
        "reset": [Reset()],
    }[ends]
    async with world(tmp_path, "sim") as here:
        begin = head(200, {"content-type": "text/event-stream", "transfer-encoding": "chunked", **HEADERS})
        here.simulator.set_script(Script([begin, said, Wait(1), *then]))
        client = await here.speak(dialect)
        assert ANSWER in client.body.decode()
        assert (await here.receipt(client.inference_id))["ending"] == "upstream_error"
        seen = await search(here, client)
        if dialect.format == "chat" and ends == "told":
            # The same format is relayed as it came, and the provider's own error frame with it.
            seen = [one for one in seen if one.place != "answers"]
        assert seen == []


async def test_nothing_is_shown_while_it_runs(tmp_path, autojump_clock):
    """In the middle of a stream no object, log line, metric or row shows a key, or what is asked and said."""
    async with world(tmp_path, "sim-pace-1s", "sim-delay-5s") as here:
        client = here.client(json.loads(json.dumps(question("sim-pace-1s")).replace("Count to ten.", PROMPT)))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, client)
            await trio.sleep(3)
            assert client.status == 200
            assert not client.ended
            assert await search(here, client) == []
            waits = here.client(asked(DIALECTS[0], "sim-delay-5s"))
            nursery.start_soon(here.run, waits)
            await trio.sleep(3)
            assert waits.status is None
            assert await search(here, client) == []
            client.leave()
            waits.leave()


async def test_an_answer_is_kept_for_an_idempotency_key_alone(tmp_path, autojump_clock):
    """The text of an answer stands in the one table that replays it, and what was asked in none."""
    said = f'{{"id":"c","choices":[{{"index":0,"message":{{"content":"{ANSWER}"}},"finish_reason":"stop"}}]}}'.encode()
    async with world(tmp_path, "sim") as here:
        here.simulator.set_script(Script(*[[whole(200, "application/json", said)]] * 2))
        body = asked(DIALECTS[0], stream=False)
        kept = await here.run(here.client(body, idempotency_key="once"))
        assert {one.place for one in await search(here, kept)} == {"tables"}
        await here.store.write(lambda tx: tx.execute("DELETE FROM answers") and None)
        plain = await here.run(here.client(body))
        assert await search(here, kept, plain) == []


async def test_what_waits_in_the_spool_is_no_secret(tmp_path, autojump_clock):
    """While the database is away a settlement waits in a file: labels are in it, and neither keys nor content."""
    async with stranded(tmp_path, "sim") as (here, _):
        client = await here.run(here.client(asked(DIALECTS[0]), x_ainf_labels=LABELS))
        kept = b"".join(data for _, data in files(tmp_path))
        assert client.inference_id.encode() in kept
        assert sightings("tables", kept, [*MAY_STAND, here.key.rpartition("_")[2]]) == []
        assert await search(here, client) == []


FAULTS: dict[str, tuple[type, str]] = {
    "credentials": (Authenticator, "authenticate"),
    "plan": (Gateway, "plan"),
    "models": (Gateway, "visible_models"),
    "key lookup": (Store, "find_key"),
    "opening": (Store, "open_inference"),
    "request writer": (ChatVendor, "write_request"),
    "dial": (UpstreamCall, "start"),
    "read": (UpstreamCall, "receive"),
    "reading of an error": (ChatVendor, "read_error"),
    "attempt": (Attempt, "read"),
    "decoder": (SniffingPipe, "receive"),
    "closing": (Store, "close_inference"),
    "receipt": (Store, "receipt"),
}


class CarelessError(Exception):
    """Tells everything: in its text, its arguments, its notes and its cause."""

    def __init__(self) -> None:
        super().__init__(RAISED, PROVIDER_KEY, PROMPT)
        self.add_note(f"{RAISED} {PROVIDER_KEY}")


def careless(*_: Any, **__: Any) -> Any:
    """Fail with an exception that holds, and passes through frames that hold, what must not be told."""
    authorization = f"Bearer {PROVIDER_KEY}"
    raise CarelessError from KeyError(authorization, RAISED)


@pytest.mark.threat(120)
@pytest.mark.parametrize("place", FAULTS)
async def test_no_exception_is_told_in_its_own_words(place, monkeypatch, tmp_path, autojump_clock):
    """Wherever a bug raises, the log has its kind and its places, the client our own words, and nobody its text."""
    model = "sim-error-500" if place == "reading of an error" else "sim"
    async with world(tmp_path, model) as here:
        monkeypatch.setattr(*FAULTS[place], careless)
        client = here.client(asked(DIALECTS[0], model))
        await here.run(client)
        looked = [await here.get(path) for path in ("/v1/models", "/v1/audit/inf_1")]
        monkeypatch.undo()
        defects = [line for line in map(json.loads, here.log.getvalue().splitlines()) if line["event"] == "defect"]
        assert defects
        assert {line["error"] for line in defects} == {"CarelessError"}
        assert all(line["at"] for line in defects)
        assert await search(here, client, *looked) == []


@pytest.mark.parametrize(
    "text",
    [
        '[providers.p]\nformat = "openai"\napi_key = "{key}"',
        '[providers.p]\nformat = "openai"\napi_key_env = "{key}"',
        '[providers.p]\nformat = "openai"\napi_key_env = "gsk_{name}"',
        '[providers.p]\nformat = "openai"\napi_key_env = "SHORT"',
        '[providers.p]\nformat = "openai"\napi_key_env = ["{key}"]',
        '[providers.p]\nformat = "{key}"',
        '[providers.p]\nformat = "openai"\napi_key_env = "SIM_KEY"\nbase_url = "https://me:{key}@provider.test/v1"',
        '[providers.p]\nformat = "openai"\napi_key_env = "SIM_KEY"\nbase_url = "https://provider.test/v1?key={key}"',
        '[providers.p]\nformat = "openai"\napi_key_env = "SIM_KEY"\nproxy = "http://me:{key}@proxy.test:3128"',
        '[providers.p]\nformat = "openai"\napi_key_env = "SIM_KEY"\nproxy = "socks5://me:{key}@proxy.test"',
        '[store]\nurl = "postgres://me:{key}@db.test/books"',
        '[providers.p]\nformat = "openai"\napi_key_env = "{key}',
        '[providers.p]\nformat = "openai"\napi_key_env = {key}',
    ],
)
def test_no_configuration_is_refused_with_a_key_in_the_words(text, tmp_path):
    """Whatever place a key was put in by mistake, the start fails, and what it says does not show it."""
    path = tmp_path / "ainf.toml"
    path.write_text(text.format(key=PROVIDER_KEY, name=PROVIDER_KEY.replace("-", "_")))
    for command in ("check", "serve"):
        environ = {"SIM_KEY": PROVIDER_KEY, "SHORT": f"{PROVIDER_KEY} {PROVIDER_KEY}"}
        result = CliRunner(env=environ).invoke(ainf, [command, "--config", str(path)])
        assert result.exit_code == 1
        assert str(path) in result.output
        shown = "".join(traceback.format_exception(*result.exc_info))
        assert [name for name in (KEY, KEY.replace("-", "_")) if name in result.output + shown] == []


@pytest.mark.threat(120)
async def test_no_text_of_anybody_is_a_label_of_a_metric(tmp_path, autojump_clock):
    """Every label of every metric takes its values from what is configured or from our own words."""
    models = ("sim", "sim-error-500", "sim-error-503", "messages/sim")
    async with world(tmp_path, *models, after=TARGET) as here:
        for number, dialect in enumerate(DIALECTS, 1):
            await crowd(here, dialect, f"k000000{number}")
        for model in ("sim-error-500", "auto"):
            await here.ask(model)
        allowed = {
            "model": {*models}, "from_model": {*models},
            "provider": set(here.gateway.backends), "target": {"auto"}, "alias": {"auto", "any"},
            "code": {*CODES, "unknown"}, "ending": set(Ending), "evidence": set(Evidence), "stream": {"true", "false"},
            "protocol": set(PROTOCOLS), "status": set(RoutingStatus),
            "kind": {"input", "output", "attached", "replayed", *Burn}, "result": {"won", "lost", "no_room"},
        }  # fmt: skip
        seen = set()
        for family in text_string_to_metric_families(here.telemetry.exposition().decode()):
            for sample in family.samples:
                for label, value in sample.labels.items():
                    if label != "le":
                        seen.add(label)
                        assert value in allowed[label], (sample.name, label, value)
        assert seen >= {"model", "provider", "code", "ending", "protocol", "alias", "target", "status", "from_model"}


async def ask_for_all(here: Deployment) -> list[bytes]:
    """Ask a gateway that is a process in every way that this file knows; return what it answered."""
    asked_for = []
    for authorization in (here.key, f"ainf_k0000000_{WRONG_KEY}", WRONG_KEY):
        for dialect in DIALECTS:
            for more in ("", "idempotency-key: once"):
                fields = asked(dialect, "sim", stream=not more)
                if more:
                    fields.pop("user", None)  # a provider repeats it in its answer, and that answer is kept
                asked_for.append((f"POST {dialect.path}", authorization, more, json.dumps(fields).encode()))
    asked_for += [(f"POST /v1/chat/completions?key={WRONG_KEY}", WRONG_KEY, "", b"{}")]
    asked_for += [(f"GET {path}", here.key, "", b"") for path in ("/openapi.json", "/healthz", "/metrics", "/v1/usage")]
    asked_for += [(f"GET /v1/audit/{WRONG_KEY}", here.key, "", b"")]
    answers = []
    for begin, key, more, body in asked_for:
        client = await here.connect()
        lines = (
            f"{begin} HTTP/1.1", "host: gateway.test", f"authorization: Bearer {key}", "connection: close",
            "content-type: application/json", f"content-length: {len(body)}", f"x-ainf-labels: {LABELS}",
        )  # fmt: skip
        await client.send("\r\n".join([*lines, *([more] if more else []), "", ""]).encode() + body)
        answers.append((await client.take()).raw)
    return answers


@pytest.mark.threat(120)
async def test_a_process_leaves_no_secret_behind(tmp_path, monkeypatch):
    """What a gateway writes in its life, a kill -9 and a refused reload too, and what commands say of it, is clean."""
    monkeypatch.setenv("SIM_KEY", PROVIDER_KEY)
    with trio.fail_after(120):
        async with deployment(tmp_path, "sim", "sim-pace-50ms-tokens-4000", now=wall_clock) as here:
            answers = await ask_for_all(here)
            assert sum(b"HTTP/1.1 200" in answer for answer in answers) == 10
            stream = await here.ask("sim-pace-50ms-tokens-4000")
            await stream.read_until(b"data: ")
            good = here.config.read_text()
            here.config.write_text(good + f'[providers.p]\nformat = "openai"\napi_key_env = "{PROVIDER_KEY}"\n')
            here.gateway.child.send_signal(signal.SIGHUP)
            await eventually(lambda: "reload_refused" in here.gateway.output.read_text())
            here.config.write_text(good)
            killed = dict(files(tmp_path))
            await here.kill()
            await here.start()
            commands = [await here.command(*command.split()) for command in COMMANDS]
            assert [(run.args[3:], run.returncode, run.stderr) for run in commands if run.returncode] == []
            shown = b"".join(run.stdout + run.stderr for run in commands)
            assert await here.terminate() == 0
            left = dict(files(tmp_path))
            assert {"ainf.db", "gateway-1.log", "gateway-2.log"} <= left.keys()
            assert "ainf.db-wal" in killed
            canaries = [*MAY_STAND, here.key.rpartition("_")[2]]
            places = [("answers", b"".join(answers)), ("commands", shown)]
            places += [("tables", data) for found in (killed, left) for name, data in found.items() if ".db" in name]
            places += [("log", data) for name, data in left.items() if name.endswith(".log")]
            seen = [one for place, data in places for one in sightings(place, data, canaries)]
            assert seen == []
