"""What is set once for a process: its defaults hang together."""

from pathlib import Path

from ainf.config.process import Limits, ServerConfig, StoreConfig


def test_a_client_is_told_something_before_a_silent_provider_is_given_up():
    """Heads and heartbeats come before the clocks that end a silent exchange, and these before the longest one."""
    limits = Limits()
    assert limits.early_head_s < limits.first_byte_s < limits.exchange_s
    assert limits.heartbeat_s < limits.silence_s < limits.exchange_s


def test_nothing_is_read_that_cannot_be_kept():
    """A stream's line fits its event, an event the answer, and one read the largest line."""
    limits = Limits()
    assert limits.upstream_read_bytes <= limits.sse_line_bytes <= limits.sse_event_bytes <= limits.answer_bytes
    assert limits.upstream_connections >= limits.running


def test_nobody_is_reached_by_default():
    """A gateway that is not told where to listen listens to its own machine only."""
    (address,) = ServerConfig(public_url="http://x").bind
    assert not address.wildcard


def test_a_settlement_is_tried_for_longer_than_a_request_waits():
    """What was spent is recorded before somebody new is let in."""
    store = StoreConfig(spool=Path("spool"))
    assert store.wait_s < store.close_s
