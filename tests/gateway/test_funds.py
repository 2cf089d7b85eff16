"""A prepaid balance that is used up: refused and cut as a cap is, in every protocol, as key and model have it told."""

import pytest

from ainf.store import balances
from ainf.store.balances import CreditKind, NewCredit
from tests.gateway.backends import OUTPUT_RATE
from tests.gateway.dialects import DIALECTS
from tests.gateway.law import check_ledger
from tests.gateway.told import check_cap
from tests.gateway.world import Client, World, world

MONEY = "slice_tokens = 8\nmin_output_tokens = 4"
MODES = ("extended", "strict", "loud")

dialects = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.format)
by = pytest.mark.parametrize("by", ["key", "model"])
streams = pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])


async def pay_in(here: World, nusd: int) -> None:
    """Open a balance of the account with so much on it."""
    first = NewCredit("credit_1", CreditKind.TOP_UP, nusd, "")
    await here.store.write(
        lambda tx: balances.open_balance(tx, cap_id="balance_1", account="agents", at=0, first=first)
    )


def check_refusal(client: Client, refusal: str) -> None:
    """The status that was chosen, its code, and no word of a retry."""
    assert client.status == int(refusal)
    error = client.json()["error"]
    assert error["code"] == ("insufficient_funds" if refusal == "402" else "insufficient_quota")
    assert error["billed"] == "0"
    assert "balance" in error["message"]
    assert error["message"].endswith("Top it up.")
    assert error["cap"]["kind"] == "balance"
    assert client.headers["x-should-retry"] == "false"
    assert "retry-after" not in client.headers


@streams
@by
@pytest.mark.parametrize("refusal", ["402", "429"])
@dialects
async def test_a_refusal(dialect, refusal, by, stream, tmp_path, autojump_clock):
    """Its own code as 402, and ``insufficient_quota`` as 429; nothing is dialled."""
    more = f'{MONEY}\nmoney_refusal = "{refusal}"' if by == "model" else MONEY
    model = f"{dialect.format}/sim"
    async with world(tmp_path, model, more=more) as here:
        await pay_in(here, OUTPUT_RATE)
        if by == "key":
            here.key = await here.new_key("agents", money_refusal=refusal)
        check_refusal(await here.speak(dialect, model, stream=stream), refusal)
        assert not here.simulator.books.entries
        await check_ledger(here, admitted=0)


@by
@pytest.mark.parametrize("mode", MODES)
@dialects
async def test_an_end_in_the_stream(dialect, mode, by, tmp_path, autojump_clock):
    """What a balance cuts is told as what a cap cuts: the client's own way, and inside the money."""
    more = f'{MONEY}\nfinish_reasons = "{mode}"' if by == "model" else MONEY
    model = f"{dialect.format}/sim-tokens-500-unlimited-pace-5ms"
    async with world(tmp_path, model, more=more) as here:
        await pay_in(here, 100 * OUTPUT_RATE)
        if by == "key":
            here.key = await here.new_key("agents", finish_reasons=mode)
        client = await here.speak(dialect, model)
        receipt = await here.receipt(client.inference_id)
        assert receipt["ending"] == "spend_cap_exceeded"
        assert 0 < receipt["settled_nusd"] <= 100 * OUTPUT_RATE
        check_cap(client, receipt, mode)
        if mode == "loud":
            message = client.said().error["message"]
            assert "balance" in message
            assert message.endswith("Top it up.")
        await check_ledger(here)
