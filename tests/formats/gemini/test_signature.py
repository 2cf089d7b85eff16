import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ainf.formats.gemini.signature import CALL, PLACEHOLDER, TEXT, THOUGHT, read_signature, signature_of
from ainf.inference.conversation import Opaque


@pytest.mark.parametrize("source", [THOUGHT, TEXT, CALL])
@pytest.mark.parametrize("data", ["EtgCCtUCAXLI2nw=", "not base64!", "", PLACEHOLDER])
def test_own(source, data):
    """Gemini's own signatures go there and back as they are."""
    opaque = Opaque(source, data)
    assert signature_of(opaque) == data
    assert read_signature(data, source) == opaque


@given(st.sampled_from(["messages.signature", "messages.redacted", "responses", "chat"]), st.text())
def test_foreign(source, data):
    """What another provider made travels sealed, as base64, and is unsealed as what it was."""
    if any("\ud800" <= character <= "\udfff" for character in data):
        return
    opaque = Opaque(source, data)
    signature = signature_of(opaque)
    assert data.encode() not in signature.encode() or len(data) < 4
    assert base64.b64decode(signature, validate=True)
    assert read_signature(signature, CALL) == opaque


def test_placeholder_is_base64():
    """The documented word is what a field of bytes can hold, in the alphabet for URLs."""
    assert len(base64.urlsafe_b64decode(PLACEHOLDER)) == 24
