"""Conversations: the seal on what belongs to one provider alone, and the client's own names."""

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ainf.formats.chat import reasoning as chat
from ainf.formats.gemini import signature as gemini
from ainf.formats.messages import reader as messages
from ainf.formats.responses import opaque as responses
from ainf.inference.conversation import (
    CacheMark,
    Conversation,
    Document,
    Image,
    Opaque,
    Written,
)

SOURCES = sorted({chat.SOURCE, messages.SIGNATURE, messages.REDACTED, responses.SOURCE, *gemini.SOURCES})
TEXTS = st.text(max_size=30)


@given(st.sampled_from(SOURCES), TEXTS)
def test_what_was_sealed_is_unsealed(source, data):
    """The data of every format comes back as that format's own, whatever it holds."""
    opaque = Opaque(source, data)
    assert Opaque.unsealed(opaque.sealed()) == opaque


@given(st.sampled_from(SOURCES), st.sampled_from(SOURCES), TEXTS)
def test_a_seal_inside_a_seal(outer, inner, data):
    """One unsealing takes off one seal: data that looks sealed is its provider's data, not another provider's."""
    sealed = Opaque(inner, data).sealed()
    assert Opaque.unsealed(Opaque(outer, sealed).sealed()) == Opaque(outer, sealed)


@given(st.sampled_from(SOURCES), st.sampled_from(SOURCES), TEXTS, TEXTS)
def test_different_data_has_different_seals(source, other, data, other_data):
    """No two are taken for one another: not another source's, and not other data of the same source."""
    one, another = Opaque(source, data), Opaque(other, other_data)
    assert (one.sealed() == another.sealed()) == (one == another)


@pytest.mark.parametrize(
    "text",
    [
        "", "x", "ainf", "ainf.", "ainf.messages.signature", "AINF.chat:x", " ainf.chat:x", "\nainf.chat:x",
        "ainf:chat:x", "xainf.chat:x", "EqQBCgIYAhIM", "ainf。chat:x", "gemini:x",
    ],
)  # fmt: skip
def test_what_was_not_sealed(text):
    """Any other text is no seal: it is left to the wire that it stands on."""
    assert Opaque.unsealed(text) is None


@given(TEXTS)
def test_any_text_is_a_whole_seal_or_none(text):
    """Whatever a client makes up, what is unsealed of it seals to the very same text again."""
    for candidate in (text, f"ainf.{text}"):
        opaque = Opaque.unsealed(candidate)
        assert opaque is None or opaque.sealed() == candidate


@pytest.mark.parametrize(
    ("forged", "source"), [("ainf.:x", ""), ("ainf.openai:x", "openai"), ("ainf.Responses:x", "Responses")]
)
def test_a_forged_source_is_nobodys(forged, source):
    """A source that no format has is kept as it was made up, so that every writer drops it."""
    opaque = Opaque.unsealed(forged)
    assert (opaque.source, opaque.data) == (source, "x")
    assert opaque.source not in SOURCES


def test_names():
    """What was asked for is called as the client called it, and by the attribute's name where it said nothing."""
    conversation = Conversation(messages=(), names={"stop": "stop_sequences", "max_output_tokens": "max_tokens"})
    assert conversation.name_of("stop") == "stop_sequences"
    assert conversation.name_of("max_output_tokens") == "max_tokens"
    assert conversation.name_of("top_k") == "top_k"
    assert Conversation(messages=()).name_of("stop") == "stop"


def test_nothing_is_asked_unless_it_was():
    """An empty conversation asks for nothing: every attribute is None, or holds nothing."""
    asked = attrs.asdict(Conversation(messages=()), recurse=False)
    assert {name for name, value in asked.items() if value not in (None, (), {})} == set()


@pytest.mark.parametrize(
    "value",
    [
        Opaque("chat", "SECRET"),
        Image(media_type="image/png", data="SECRET", cache=CacheMark.LONG),
        Document(media_type="application/pdf", data="SECRET", name="a.pdf"),
        Written({"messages": "SECRET"}, ("top_k",)),
    ],
)
def test_bulk_and_secrets_are_not_shown(value):
    """Payloads, signatures and whole requests stay out of logs and tracebacks."""
    assert "SECRET" not in repr(value)
