import pytest
from openai.types.responses import ResponseOutputItem
from pydantic import TypeAdapter

from ainf.formats.responses.items import Namer, final_fields, item_of
from ainf.inference.conversation import Opaque
from ainf.inference.events import BlockKind, BlockStart

OWN = Opaque("responses", "rs_9:gAAA")


@pytest.mark.parametrize("kind", BlockKind)
def test_items(kind):
    """The item of each kind of block is one of OpenAI's."""
    item = item_of(BlockStart(0, kind, "c_1", "f"), "x_1", "in_progress")
    assert TypeAdapter(ResponseOutputItem).validate_python(item).id == "x_1"


def test_names():
    """Names follow from the inference and the place; an item's own name is taken once."""
    namer = Namer("inf1")
    names = [namer.name(kind, at) for at, kind in enumerate(BlockKind)]
    assert names == ["msg_inf1_0", "rs_inf1_1", "msg_inf1_2", "fc_inf1_3", "ctc_inf1_4"]
    assert [namer.name(BlockKind.REASONING, 5, OWN), namer.name(BlockKind.REASONING, 6, OWN)] == ["rs_9", "rs_inf1_6"]


@pytest.mark.parametrize(
    ("opaque", "encrypted"),
    [
        (OWN, "gAAA"),
        (Opaque("responses", ":gAAA"), "gAAA"),
        (Opaque("responses", "rs_8:gAAA"), "ainf.responses:rs_8:gAAA"),
        (Opaque("gemini", "x"), "ainf.gemini:x"),
    ],
)
def test_encrypted_content(opaque, encrypted):
    """Only an item's own content is given as it is."""
    assert final_fields(opaque, "rs_9") == {"encrypted_content": encrypted}
    assert final_fields(None, "rs_9") == {}
