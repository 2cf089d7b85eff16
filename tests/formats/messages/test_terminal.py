import pytest

from ainf.formats.base import Answer
from ainf.formats.messages.blocks import SentBlocks
from ainf.formats.messages.frames import STOP_FRAME
from ainf.formats.messages.terminal import MessagesTerminalGroup
from ainf.inference.outcome import Ending
from tests.formats.messages.support import (
    CAPPED,
    COMPLETED,
    FAILED,
    STOP,
    client_message,
    documents,
    event,
    finish,
    kinds,
    outcome,
    payloads_of,
    style,
)


def kept(*, is_stopped=True):
    group = MessagesTerminalGroup(1000)
    group.keep_finish(finish(), payloads_of(finish())[0])
    if is_stopped:
        group.keep_stop(STOP)
    return group


def close(group, ending, mode="extended", blocks=None, answer=None):
    return group.close(blocks or SentBlocks(), answer or Answer(), ending, style(mode))


def test_completed():
    """What the provider said of its end is told as it came; a missing message_stop is added."""
    assert close(kept(), COMPLETED) == finish() + STOP
    assert close(kept(is_stopped=False), COMPLETED) == finish() + STOP_FRAME


def test_is_open():
    """The group is open from the stop reason to message_stop."""
    assert not MessagesTerminalGroup(10).is_open
    assert kept(is_stopped=False).is_open
    assert not kept().is_open


def test_tail():
    """What follows the stop reason is kept in order, within the limit."""
    group = kept(is_stopped=False)
    small, large = event("message_delta", delta={}), event("message_delta", delta={}, x="x" * 1000)
    for raw in (small, large, small):
        group.keep(raw)
    assert close(group, COMPLETED) == finish() + small * 2 + STOP_FRAME


@pytest.mark.parametrize("mode", ["extended", "strict", "loud"])
def test_cap_before_anything(mode):
    """A cap that comes before everything else makes a whole message, named as the provider named it."""
    group = close(MessagesTerminalGroup(10), CAPPED, mode, answer=Answer(response_id="msg_9", model="m-9"))
    assert kinds(group) == ["message_start", "message_delta", "error" if mode == "loud" else "message_stop"]
    if mode == "strict":
        message = client_message(group)
        assert (message.id, message.model, message.stop_reason) == ("msg_9", "m-9", "max_tokens")


def test_cap_without_names():
    """Where the provider named nothing, the names are ours."""
    start = documents(close(MessagesTerminalGroup(10), CAPPED))[0]["message"]
    assert (start["id"], start["model"], start["usage"]["input_tokens"]) == ("msg_inf_1", "asked-for", 0)


def test_open_blocks_end_first():
    """What is open ends before the reason is told."""
    blocks = SentBlocks()
    blocks.is_started = True
    blocks.start(1)
    blocks.start(0)
    found = documents(close(MessagesTerminalGroup(10), CAPPED, blocks=blocks))
    assert [document.get("index") for document in found] == [0, 1, None, None]
    blocks.start(4)
    assert kinds(close(MessagesTerminalGroup(10), FAILED, blocks=blocks)) == ["content_block_stop", "error"]


@pytest.mark.parametrize("ending", [ending for ending in Ending if ending is not Ending.COMPLETED])
def test_exactly_one_terminal_frame(ending):
    """Every ending has one terminal frame, the last; who has left gets nothing."""
    found = kinds(close(kept(), outcome(ending, "internal_error")))
    if ending in {Ending.CLIENT_DISCONNECTED, Ending.ABANDONED}:
        assert found == []
    else:
        terminal = [kind for kind in found if kind in {"message_stop", "error"}]
        assert terminal == found[-1:] == ["message_stop" if ending is Ending.SPEND_CAP_EXCEEDED else "error"]
