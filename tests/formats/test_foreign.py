"""What another provider made is taken out of a request, and nothing else is touched."""

import pytest

from ainf.formats.foreign import without_foreign
from ainf.inference.conversation import Opaque

SEALED = Opaque("gemini", "secret").sealed()
OWN = "EqQBCgIYAhIM"


@pytest.mark.parametrize(
    ("format_", "fields"),
    [
        ("chat", {"messages": [{"role": "assistant", "reasoning_details": [{"type": "reasoning.encrypted",
                                                                            "data": OWN}]}, 5, {"content": SEALED}]}),
        ("messages", {"messages": [{"role": "assistant", "content": [
            {"type": "thinking", "thinking": SEALED, "signature": OWN}, {"type": "redacted_thinking", "data": OWN}]},
            {"role": "user", "content": SEALED}, {"role": "user", "content": [SEALED]}]}),
        ("responses", {"input": [{"type": "reasoning", "encrypted_content": OWN},
                                 {"role": "user", "content": SEALED}]}),
        ("responses", {"input": SEALED}),
        ("chat", {"messages": None}),
        ("gemini", {"contents": []}),
        ("embeddings", {"input": "x"}),
    ],
)  # fmt: skip
def test_what_is_the_clients_or_the_providers_own_stays(format_, fields):
    """A request without sealed data is the very same object."""
    assert without_foreign(fields, format_) is fields


@pytest.mark.parametrize(
    ("format_", "fields", "kept"),
    [
        ("chat", {"n": 1, "messages": [{"role": "assistant", "content": "a", "reasoning_details": [
            {"type": "reasoning.encrypted", "data": SEALED}, {"type": "reasoning.encrypted", "data": OWN}]}]},
         {"n": 1, "messages": [{"role": "assistant", "content": "a", "reasoning_details": [
             {"type": "reasoning.encrypted", "data": OWN}]}]}),
        ("messages", {"messages": [{"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm", "signature": SEALED}, {"type": "text", "text": "a"}]}]},
         {"messages": [{"role": "assistant", "content": [{"type": "text", "text": "a"}]}]}),
        ("messages", {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": [
            {"type": "redacted_thinking", "data": SEALED}]}]}, {"messages": [{"role": "user", "content": "q"}]}),
        ("responses", {"input": [{"type": "reasoning", "id": "rs_1", "encrypted_content": SEALED, "summary": []},
                                 {"role": "user", "content": "q"}]}, {"input": [{"role": "user", "content": "q"}]}),
    ],
)  # fmt: skip
def test_what_is_sealed_goes_with_what_holds_it(format_, fields, kept):
    """The block, item or entry goes whole; a message of which nothing is left goes too."""
    assert without_foreign(fields, format_) == kept
