"""Real usage objects of every provider: what they cost by hand, beside what the gateway makes of them."""

import json
from fractions import Fraction
from math import ceil
from pathlib import Path

import pytest

from ainf.formats.chat.usage import read_usage as read_chat
from ainf.formats.gemini.usage import read_usage as read_gemini
from ainf.formats.messages.usage import read_usage as read_messages
from ainf.formats.responses.usage import read_usage as read_responses
from ainf.pricing import cost, parse_price
from ainf.providers.registry import PROVIDERS
from tests.conversions import PAGE, ROWS, document

READ = {"chat": read_chat, "gemini": read_gemini, "messages": read_messages, "responses": read_responses}
FIXTURES = Path(__file__).parent / "fixtures"
IDS = [f"{row.vendor}: {row.what}" for row in ROWS]
OWN_SERVERS = {"vllm", "ollama"}


def by_hand(text: str) -> int:
    """Return a sum of tokens times USD per million in nano-dollars, rounded up; nothing of the gateway is asked."""
    products = (part.split("*") for part in text.split(" + "))
    return ceil(sum(Fraction(tokens) * Fraction(usd) for tokens, usd in products) * 1000)


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_the_cost_by_hand_is_ours(row):
    """What came is counted as the table says, and costs what the sum by hand does, to the nano-dollar."""
    usage = READ[row.format](row.document)
    assert usage == row.usage
    assert cost(parse_price(row.rates), usage) == by_hand(row.by_hand)


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_the_sum_has_every_token_once(row):
    """The tokens of the sum by hand are all that were read and written, none of them twice."""
    tokens = sum(int(part.split("*")[0]) for part in row.by_hand.split(" + "))
    assert tokens == row.usage.input_tokens + row.usage.output_tokens


@pytest.mark.parametrize("row", [row for row in ROWS if row.origin.startswith("recorded")], ids=lambda row: row.origin)
def test_what_was_recorded_is_recorded(row):
    """The usage object stands in the fixture as it stands in the table."""
    recorded = (FIXTURES / f"{row.origin.removeprefix('recorded ')}.sse").read_text()
    assert json.dumps(row.document, separators=(",", ":")) in "".join(recorded.split())


def test_no_vendor_is_left_out():
    """Each vendor that bills tokens has a row, in the format that it speaks."""
    spoken = {(name, wire) for name, vendor in PROVIDERS.items() for wire in vendor.formats.values()}
    assert {(row.vendor, row.format) for row in ROWS} <= spoken
    assert {row.vendor for row in ROWS} == PROVIDERS.keys() - OWN_SERVERS


def test_the_page_is_the_table():
    """docs/cached-tokens.md says what the table says; `python -m tests.conversions` writes it."""
    assert PAGE.read_text() == document({number: by_hand(row.by_hand) for number, row in enumerate(ROWS)})
