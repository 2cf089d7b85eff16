"""An operator at work with the commands, on the database of a gateway that runs: each takes effect while it serves."""

import csv
import json
from io import StringIO
from pathlib import Path
from typing import Any

import attrs
import openai
import pytest
import trio
from click.testing import CliRunner

from ainf.cli.main import ainf
from tests.gateway.live import Live, live
from tests.gateway.live_client import Answer, finish_reasons

MONEY = "slice_tokens = 8\nmin_output_tokens = 4"
PACED = "sim-tokens-100-pace-20ms"
SEEN_S = 5
"""How long a change of a key, or its end, may take to be seen."""


@attrs.frozen
class Operator:
    """Runs commands, as another process would, on the configuration of the gateway."""

    here: Live
    config: Path

    async def run(self, *arguments: str) -> str:
        def invoke() -> str:
            result = CliRunner().invoke(ainf, [*arguments, "--config", str(self.config)])
            assert result.exit_code == 0, result.output
            return result.stdout.strip()

        return await trio.to_thread.run_sync(invoke)

    async def json(self, *arguments: str) -> Any:
        return json.loads(await self.run(*arguments, "--json"))

    async def until(self, status: int, key: str, **fields: Any) -> Answer:
        """Ask until it is answered with a status: changes of a key are seen within seconds."""
        with trio.fail_after(SEEN_S):
            while (taken := await self.here.ask(key=key, **fields)).status != status:  # noqa: ASYNC110 - nobody is told
                await trio.sleep(0.1)
        return taken


async def refusal(here: Live, key: str) -> dict[str, Any]:
    """Ask with the SDK and its default retries; return the error, which was asked for once."""

    def ask(client: openai.OpenAI) -> dict[str, Any]:
        with pytest.raises(openai.APIStatusError) as raised:
            client.chat.completions.create(model="sim", messages=[{"role": "user", "content": "Count."}])
        assert raised.value.status_code == 402
        assert isinstance(raised.value.body, dict)
        return raised.value.body

    return await here.sdk(ask, key=key)


async def test_money_as_an_operator_gives_and_takes_it(tmp_path):
    """Caps and balances that are set, raised, topped up, corrected and closed decide about the very next request."""
    async with live(tmp_path, "sim", more=MONEY) as here:
        operator = Operator(here, tmp_path / "ainf.toml")
        await operator.run("accounts", "create", "org")
        await operator.run("accounts", "create", "lab", "--parent", "org")
        key = await operator.run("keys", "create", "--account", "lab", "--quiet")
        assert (await here.ask(key=key)).status == 200

        await operator.run("caps", "set", "--account", "org", "--window", "day", "--usd", "0.00001")
        error = await refusal(here, key)
        assert (error["code"], error["cap"]["of"], error["cap"]["window"]) == (
            "spend_cap_exceeded",
            "account org",
            "day",
        )
        await operator.run("caps", "set", "--account", "org", "--window", "day", "--usd", "1")
        assert (await here.ask(key=key)).status == 200

        await operator.run("balances", "open", "--account", "lab")
        error = await refusal(here, key)
        assert (error["code"], error["cap"]["kind"], error["cap"]["left"]) == ("insufficient_funds", "balance", "0")
        await operator.run("balances", "top-up", "--account", "lab", "--usd", "2", "--note", "Invoice 7")
        assert (await here.ask(key=key)).status == 200
        await operator.run("balances", "adjust", "--account", "lab", "--usd=-2")
        assert (await refusal(here, key))["code"] == "insufficient_funds"
        await operator.run("balances", "close", "--account", "lab")
        assert (await here.ask(key=key)).status == 200
        (cap,) = await operator.json("caps", "list")
        receipts = await here.receipts()
        assert len(receipts) == 4
        assert cap["settled_nusd"] == sum(receipt["settled_nusd"] for receipt in receipts)


async def test_a_running_stream_feels_it(tmp_path):
    """A top-up in time lets a stream go on that would have been cut; a cap that is set below what it holds cuts it."""
    async with live(tmp_path, PACED, more=MONEY) as here:
        operator = Operator(here, tmp_path / "ainf.toml")
        await operator.run("balances", "open", "--account", "agents", "--usd", "0.0003")
        for command in (
            ("balances", "top-up", "--account", "agents", "--usd", "1"),
            ("caps", "set", "--account", "agents", "--usd", "0.000001"),
        ):
            client = await here.start(PACED, max_tokens=110)
            await here.wait_running(1)
            await operator.run(*command)
            taken = await client.take()
            (reason,) = finish_reasons(taken)
            assert reason == ("stop" if command[0] == "balances" else "spend_cap_exceeded")
        for receipt in await here.receipts():
            assert receipt["overrun_nusd"] == 0
            assert receipt["settled_nusd"] <= receipt["held_nusd"]


async def test_keys_as_an_operator_changes_them(tmp_path):
    """Limits come and go within seconds; a key that is revoked, or whose account is closed, ends its streams."""
    endless = "sim-endless-pace-20ms"
    async with live(tmp_path, "sim", endless) as here:
        operator = Operator(here, tmp_path / "ainf.toml")
        await operator.run("accounts", "create", "lab")
        limited = await operator.json("keys", "create", "--account", "lab", "--inject-cost")
        whole = json.loads((await here.ask(key=limited["key"], stream=False)).body)
        assert whole["usage"]["cost"] > 0
        await operator.run("keys", "limit", limited["key_id"], "--requests-per-minute", "1")
        refused = await operator.until(429, limited["key"])
        assert json.loads(refused.body)["error"]["code"] == "rate_limited"
        await operator.run("keys", "limit", limited["key_id"], "--requests-per-minute", "none")
        await operator.until(200, limited["key"])
        for end in ("revoke", "close"):
            created = await operator.json("keys", "create", "--account", "lab")
            client = await here.start(endless, key=created["key"])
            await here.wait_running(1)
            with trio.fail_after(SEEN_S + 1):
                if end == "revoke":
                    await operator.run("keys", "revoke", created["key_id"])
                else:
                    await operator.run("accounts", "close", "lab")
                taken = await client.take()
            assert finish_reasons(taken) == ["error"]
            assert (await here.receipt(taken))["error_code"] == "key_revoked"
        await operator.until(401, created["key"])


async def test_the_books_as_an_operator_reads_them(tmp_path):
    """Receipts, usage and the checks of ledger and trail are read beside the gateway, and agree with what it tells."""
    async with live(tmp_path, "sim", "sim-tokens-0") as here:
        operator = Operator(here, tmp_path / "ainf.toml")
        for stream in (True, False, True):
            taken = await here.ask(stream=stream)
        for _ in range(3):
            await here.ask("sim-tokens-0")
        told = json.loads((await here.get("/v1/usage?by=model")).body)
        assert (await operator.json("usage", "--by", "model"))["rows"] == told["rows"]
        rows = list(csv.DictReader(StringIO(await operator.run("usage", "--by", "model", "--csv"))))
        assert [int(row["spent_nusd"]) for row in rows] == [row["spent_nusd"] for row in told["rows"]]
        receipt = await here.receipt(taken)
        shown = await operator.json("audit", "show", receipt["inference_id"])
        assert shown["settled_nusd"] == receipt["settled_nusd"] > 0
        burn = await operator.json("audit", "burn", "--empty")
        empty = [each for each in await here.receipts() if each["is_empty"]]
        assert (burn["exchanges"], burn["charged_nusd"]) == (3, sum(each["settled_nusd"] for each in empty))
        await operator.run("ledger", "verify")
        await operator.run("audit", "verify")
