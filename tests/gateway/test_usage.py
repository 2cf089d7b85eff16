"""Usage through the whole gateway: what it says is what the receipts say, whatever the ending, to the nano-dollar."""

from collections import Counter
from urllib.parse import urlencode

import trio

from tests.gateway.candidates import Candidate, ask_target, target_text
from tests.gateway.law import check_ledger
from tests.gateway.world import Client, World, world

MODELS = (
    "sim", "sim-tokens-5", "messages/sim-cached-4", "responses/sim-reasoning-5", "gemini/sim", "sim-error-503",
    "sim-tokens-40-reset-after-12", "sim-tokens-0", "sim-no-usage", "sim-tokens-500-pace-20ms",
)  # fmt: skip
SUMMED = ("settled_nusd", "overrun_nusd")


async def usage(here: World, **parameters: str) -> dict:
    client = Client("/v1/usage", b"", {"authorization": f"Bearer {here.key}"}, "GET")
    client.scope["query_string"] = urlencode(parameters).encode()
    answer = await here.run(client)
    assert answer.status == 200, answer.body
    return answer.json()


async def leave_after(client: Client, seconds: float) -> None:
    await trio.sleep(seconds)
    client.leave()


async def traffic(here: World) -> list[dict]:
    """Every ending that comes cheaply, streamed and not; return the receipts."""
    clients = [await here.ask(model, stream=stream) for model in MODELS[:-1] for stream in (True, False)]
    async with trio.open_nursery() as nursery:
        left = here.client({"model": MODELS[-1], "messages": [{"role": "user", "content": "x"}], "stream": True})
        nursery.start_soon(here.run, left)
        nursery.start_soon(leave_after, left, 3)
    return [await here.receipt(client.inference_id) for client in [*clients, left]]


async def test_it_says_what_the_receipts_say(tmp_path, autojump_clock):
    """By whatever it is summed: each receipt is in one row, with its tokens and its money, and in no other."""
    async with world(tmp_path, *MODELS) as here:
        receipts = await traffic(here)
        assert {receipt["ending"] for receipt in receipts} == {"completed", "upstream_error", "client_disconnected"}
        for name in ("model", "provider", "ending", "evidence"):
            told = {row[name]: row for row in (await usage(here, by=name))["rows"]}
            assert {group: row["exchanges"] for group, row in told.items()} == Counter(r[name] for r in receipts)
            for group, row in told.items():
                own = [receipt for receipt in receipts if receipt[name] == group]
                for amount in SUMMED:
                    assert row[amount] == sum(receipt[amount] for receipt in own)
                for tokens in own[0]["usage"]:
                    assert row[tokens] == sum(receipt["usage"][tokens] for receipt in own)
        await check_ledger(here, admitted=len(receipts))


async def test_attempts_are_told_where_they_called(tmp_path, autojump_clock):
    """What was spent before an exchange fell back stands with the model that failed; the exchange with the other."""
    target = target_text(Candidate("sim-close-after-head"), Candidate(format="messages"))
    async with world(tmp_path, "sim", after=target) as here:
        clients = [await ask_target(here, stream=stream) for stream in (True, False)] + [await here.ask()]
        receipts = [await here.receipt(client.inference_id) for client in clients]
        lines = [line for receipt in receipts for line in receipt["attempts"]]
        assert len(lines) == 5
        for name in ("model", "provider"):
            told = {row[name]: row for row in (await usage(here, by=name))["rows"]}
            assert told.keys() == {line[name] for line in lines}
            for group, row in told.items():
                own = [line for line in lines if line[name] == group]
                assert row["exchanges"] == sum(receipt[name] == group for receipt in receipts)
                assert row["spent_nusd"] == sum(line["cost_nusd"] for line in own) > 0
                for tokens in own[0]["usage"]:
                    assert row[tokens] == sum(line["usage"][tokens] for line in own)
        (row,) = (await usage(here, by="account"))["rows"]
        assert (row["exchanges"], row["spent_nusd"]) == (3, sum(line["cost_nusd"] for line in lines))
        await check_ledger(here, admitted=3)


async def test_what_runs_is_held_and_then_spent(tmp_path, autojump_clock):
    """A running stream is held, on its cap too; when it has ended it is spent, and nothing is held any more."""
    async with world(tmp_path, *MODELS) as here:
        await here.set_cap(1_000_000_000)
        body = {"model": MODELS[-1], "messages": [{"role": "user", "content": "x"}], "stream": True}
        async with trio.open_nursery() as nursery:
            client = here.client(body)
            nursery.start_soon(here.run, client)
            await trio.sleep(1)
            running = await usage(here)
        ended = await usage(here)
        held = running["held"]["held_nusd"]
        (cap,) = running["caps"]
        assert (running["totals"]["exchanges"], running["held"]["exchanges"]) == (0, 1)
        assert held > 0
        assert (cap["held_nusd"], cap["left_nusd"]) == (held, 1_000_000_000 - held)
        (cap,) = ended["caps"]
        spent = ended["totals"]["spent_nusd"]
        assert (ended["totals"]["exchanges"], ended["held"]["held_nusd"], cap["held_nusd"]) == (1, 0, 0)
        assert spent == (await here.receipt(client.inference_id))["settled_nusd"]
        assert (cap["settled_nusd"], cap["left_nusd"]) == (spent, 1_000_000_000 - spent)
