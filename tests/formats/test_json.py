import json

import pytest

from ainf.formats.json import DEEPEST, load_json
from ainf.inference.errors import DownstreamError


def nested(levels):
    return b'{"a":' * (levels - 1) + b"{}" + b"}" * (levels - 1)


@pytest.mark.threat(1, 3, 4, 5, 6, 7, 8, 12, "S11", "S12", "S19")
@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_json"),
        (b"  ", "invalid_json"),
        (b'{"a":1', "invalid_json"),
        (b'{"a":1}x', "invalid_json"),
        (b'{"a":1}{"a":1}', "invalid_json"),
        (b"{'a':1}", "invalid_json"),
        (b'{"a":01}', "invalid_json"),
        (b'{"a":"\x01"}', "invalid_json"),
        (b'{"a":"\\x"}', "invalid_json"),
        (b'{"a":"\\u12G4"}', "invalid_json"),
        (b'{"a":NaN}', "invalid_json"),
        (b'{"a":Infinity}', "invalid_json"),
        (b'{"a":-Infinity}', "invalid_json"),
        (b"[]", "invalid_json"),
        (b'"x"', "invalid_json"),
        (b"null", "invalid_json"),
        (b"7", "invalid_json"),
        (b'{"a":1e400}', "number_out_of_range"),
        (b'{"a":-1e999999999}', "number_out_of_range"),
        (b'{"a":9223372036854775808}', "number_out_of_range"),
        (b'{"a":[{"b":-9223372036854775809}]}', "number_out_of_range"),
        (b'{"a":' + b"9" * 5000 + b"}", "number_out_of_range"),
        (b'{"a":' + b"9" * 1_000_000 + b"}", "number_out_of_range"),
        (nested(DEEPEST + 1), "too_deep"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "too_deep"),
        (b"[" * 100_000, "too_deep"),
        (b'{"a":"\\ud800"}', "invalid_unicode"),
        (b'{"a":"\\udc00"}', "invalid_unicode"),
        (b'{"a":"\\ud800\\ud800 and more"}', "invalid_unicode"),
        (b'{"\\uDFFF":1}', "invalid_unicode"),
        (b'{"a":"\xff"}', "invalid_encoding"),
        (b'{"a":"\xc0\xaf"}', "invalid_encoding"),
        (b'{"a":"\xed\xa0\x80"}', "invalid_encoding"),
        (b'{"\xff":1}', "invalid_encoding"),
        (b"\xef\xbb\xbf{}", "invalid_encoding"),
        ("{}".encode("utf-16"), "invalid_encoding"),
        ("{}".encode("utf-16-le"), "invalid_encoding"),
        ("{}".encode("utf-16-be"), "invalid_encoding"),
        ("{}".encode("utf-32"), "invalid_encoding"),
    ],
)
def test_refused(body, code):
    """Every kind of bad JSON is refused by its own code, without an excerpt of the body."""
    with pytest.raises(DownstreamError) as caught:
        load_json(body)
    assert caught.value.code == code
    assert len(caught.value.message) < 200
    assert caught.value.status == 400


@pytest.mark.threat(2)
@pytest.mark.parametrize(
    ("body", "document"),
    [
        (b' {"a": 1}\r\n', {"a": 1}),
        (b'{"a":1,"a":2,"\\u0061":3}', {"a": 3}),
        (b'{"a":9223372036854775807,"b":-9223372036854775808}', {"a": (1 << 63) - 1, "b": -(1 << 63)}),
        (b'{"a":"12345678901234567890123"}', {"a": "12345678901234567890123"}),
        (b'{"a":0.12345678901234567890123}', {"a": 0.12345678901234568}),
        (b'{"a":"\\ud83d\\ude00 \\u0000"}', {"a": "\U0001f600 \0"}),
        (nested(DEEPEST), json.loads(nested(DEEPEST))),
        (b'{"a":[' + b"{}," * 500 + b"{}]}", {"a": [{}] * 501}),
    ],
)
def test_accepted(body, document):
    """What can be written again passes; of duplicate keys the last stands."""
    assert load_json(body) == document


@pytest.mark.threat(1)
def test_position():
    """The position is given in bytes."""
    with pytest.raises(DownstreamError, match=r"at byte 11"):
        load_json('{"ä":"ö" x}'.encode())
