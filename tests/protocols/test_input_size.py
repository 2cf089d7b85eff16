"""The sizes of parts, whatever wire they are of."""

import base64

import pytest

from ainf.protocols.input_size import InputSize, PartKinds, fields_bytes, measure_all, measure_parts

PAYLOAD = base64.b64encode(bytes(30_000)).decode()
KINDS = PartKinds(
    texts=(None, "text"),
    attachments={"image": "image", "pdf": "file", "link": "file"},
    holders=("content", "output"),
    attached_to={"picture": "image"},
)
IMAGE, FILE = frozenset({"image"}), frozenset({"file"})


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ("é", InputSize(2)),
        (["ab", "c"], InputSize(3)),
        (12, InputSize(2)),
        (None, InputSize(4)),
        ({"a": "b"}, InputSize(len('{"a":"b"}'))),
        ({"type": "text", "text": PAYLOAD}, InputSize(len('{"type":"text","text":""}') + len(PAYLOAD))),
        ({"type": "image", "data": PAYLOAD}, InputSize(0, 1, len(PAYLOAD), IMAGE)),
        ({"type": "image", "url": f"data:x/y;base64,{PAYLOAD}"}, InputSize(0, 1, len(PAYLOAD), IMAGE)),
        ({"type": "image", "content": [{"text": "a"}]}, InputSize(0, 1, 0, IMAGE)),
        ({"type": "odd", "data": PAYLOAD}, InputSize(len('{"type":"odd","data":""}'), 1, len(PAYLOAD), FILE)),
    ],
)
def test_a_part(value, size):
    """Text by its bytes, attachments by number and payload, what is neither as both."""
    assert measure_parts(value, KINDS) == size


def test_what_is_held_is_measured_by_itself():
    """Parts inside parts, lists and single ones, count as what they are; the rest of the holder is text."""
    image = {"type": "image", "data": PAYLOAD}
    shell = len('{"type":"odd","content":null}')
    assert measure_parts({"type": "odd", "content": [image, "ab", {"content": image}]}, KINDS) == InputSize(
        shell + 2 + len('{"content":null}'), 2, 2 * len(PAYLOAD), IMAGE
    )


@pytest.mark.parametrize("kind", [7, True, ["image"], {"image": 1}])
def test_a_kind_that_is_no_name(kind):
    """A type of another type is an unknown one, and no failure."""
    assert measure_parts({"type": kind}, KINDS).attachments == 1


@pytest.mark.parametrize("text", ["a" * 255, "a rose is a rose" * 40, "data:text/plain," + "a b" * 200])
def test_what_is_no_payload(text):
    """Short words and text with blanks are text, even where their part is of an unknown kind."""
    assert measure_parts({"type": "odd", "text": text}, KINDS).payload_bytes == 0


@pytest.mark.parametrize(
    ("parts", "kinds"),
    [
        ([], set()),
        (["text", {"type": "text", "text": "image"}], set()),
        ([{"type": "image"}, {"type": "image"}], {"image"}),
        ([{"type": "image"}, {"type": "pdf"}], {"image", "file"}),
        ([{"type": "link"}], {"file"}),
        ([{"type": "picture", "content": {"type": "link"}}], {"image"}),
        ([{"type": "picture", "content": {"type": "link"}}, {"type": "link"}], {"image", "file"}),
        ([{"type": "picture", "content": [{"content": [{"type": "link"}]}, {"type": "pdf"}]}], {"image"}),
        ([{"type": "picture", "content": "https://x"}], set()),
        ([{"type": "odd", "content": [{"type": "picture", "content": {"type": "smell"}}]}], set()),
    ],
)
def test_kinds_of_attachments(parts, kinds):
    """An attachment says what it is, or what it is attached to does; each kind is told once."""
    assert measure_parts(parts, KINDS).attachment_kinds == kinds


@pytest.mark.parametrize(
    ("kind", "kinds"),
    [
        ("input_video", {"video"}), ("image_v2", {"image"}), ("audio", {"audio"}), ("file_ref", {"file"}),
        ("smell", set()), (7, set()), (["image"], set()),
    ],
)  # fmt: skip
def test_kinds_that_are_not_known(kind, kinds):
    """They are what their name says; one that says nothing is a file where it has a payload, else nothing is known."""
    part = {"type": kind, "url": "https://x"}
    assert measure_parts(part, KINDS).attachment_kinds == kinds
    assert measure_parts(part | {"data": PAYLOAD}, KINDS).attachment_kinds == (kinds or {"file"})


def test_messages():
    """Each counts as text, whatever its type; all are added up."""
    messages = [{"type": "unknown", "content": "ab"}, {"role": "user", "content": [{"type": "image", "data": PAYLOAD}]}]
    shells = len('{"type":"unknown","content":"ab"}') + len('{"role":"user","content":null}')
    assert measure_all(messages * 2, KINDS) == InputSize(2 * shells, 2, 2 * len(PAYLOAD), IMAGE)
    assert measure_all([], KINDS) == InputSize()


def test_bound():
    """All of the body less payloads may be read as text, and never less than what is known to be."""
    assert InputSize(5, 1, 100).bound_bytes(10, 1_000) == 900
    assert InputSize(5, 1, 100).bound_bytes(950, 1_000) == 950


def test_fields():
    """Fields count by their JSON; those that are absent or null by nothing."""
    assert fields_bytes({"a": "é", "b": None, "c": 1}, ("a", "b", "d")) == len('{"a":"é"}'.encode())
    assert fields_bytes({"b": None}, ("b",)) == 0
