"""Closings that wait in a spool."""

from typing import Any

import attrs

from ainf.store.base import Closing, KeptAnswer
from ainf.store.spooled import SpooledClosing
from tests.store.records import KEY, PRICE, START, closing

ANSWER = KeptAnswer(200, True, (("content-type", "text/event-stream"), ("x-odd", "\xe9")), b"data: {}\n\n\x00\xff")


def waiting(number: int = 1, *, record: Closing | None = None, **changes: Any) -> SpooledClosing:
    """Return what the spool is given of exchange ``number``, that holds 50."""
    return SpooledClosing(
        closing=record or attrs.evolve(closing(number), **changes),
        held_nusd=50,
        opened_at=START + number,
        key_id=KEY,
        account_id="acct-team",
        account_name="team",
        protocol="chat_completions",
        path="/v1/chat/completions",
        stream=True,
        requested_model="gpt",
        router="direct",
        model="gpt",
        provider="openai",
        price_version=PRICE.version,
        clamp_tokens=None,
        labels={"run": "seven"},
    )
