"""From the commit point to the provider's end, by itself; through a gateway it is all over tests/gateway."""

from ainf.exchange.relay import out_of_money
from ainf.inference.outcome import Ending
from ainf.ledger import CapState, Window


def test_who_is_out_of_money_is_told_of_what():
    """The cap or balance is named where it is known; the ending is the same."""
    cap = CapState("cap_1", 0, 5, 5, 0, Window.HOUR, "key k1")
    named, unnamed = out_of_money(cap), out_of_money(None)
    assert (named.ending, named.code) == (unnamed.ending, unnamed.code) == (
        Ending.SPEND_CAP_EXCEEDED, "spend_cap_exceeded"
    )  # fmt: skip
    assert named.message == cap.used_up()
    assert "key k1" in named.message
    assert unnamed.message
