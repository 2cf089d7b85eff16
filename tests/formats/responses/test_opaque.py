import pytest

from ainf.formats.responses.opaque import own_parts, read_opaque
from ainf.inference.conversation import Opaque


@pytest.mark.parametrize(
    ("item_id", "encrypted", "parts"),
    [("rs_1", "gA:A=", ("rs_1", "gA:A=")), (None, "gAAA", ("", "gAAA")), ("a:b", "gAAA", ("", "gAAA"))],
)
def test_both_ways(item_id, encrypted, parts):
    """An id and its encrypted content stay together."""
    assert own_parts(read_opaque(item_id, encrypted)) == parts


@pytest.mark.parametrize("encrypted", [None, ""])
def test_none(encrypted):
    """Without encrypted content there is nothing to give back."""
    assert read_opaque("rs_1", encrypted) is None


@pytest.mark.parametrize("opaque", [None, Opaque("messages.signature", "rs_1:x")])
def test_foreign(opaque):
    """What another format's provider made is not this one's."""
    assert own_parts(opaque) is None
