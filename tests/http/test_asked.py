"""A request before it is planned: how its body is known again, and what its headers ask."""

from typing import Any

import attrs
import pytest

from ainf.http.asked import Asked, RequestHeaders, fingerprint
from ainf.inference.errors import DownstreamError
from ainf.inference.request import Operation
from ainf.store.base import Claim
from tests.gateway.world import question, world
from tests.http.requests import request


def test_fingerprints():
    """The same body whatever its order of keys and its mode; other for another body, account or operation."""
    one = fingerprint("acc_1", request(a=1, b=[1, 2], stream=True, stream_options={"include_usage": True}))
    assert fingerprint("acc_1", request(b=[1, 2], a=1)) == one
    assert fingerprint("acc_1", request(b=[2, 1], a=1)) != one
    assert fingerprint("acc_2", request(b=[1, 2], a=1)) != one
    counted = attrs.evolve(request(a=1, b=[1, 2]), operation=Operation.COUNT)
    assert fingerprint("acc_1", counted) != one
    opted = [attrs.evolve(request(a=1, b=[1, 2]), betas=betas) for betas in (("x", "y"), ("y", "x"), ("x",), ("xy",))]
    first, turned, *others = [fingerprint("acc_1", asked) for asked in opted]
    assert first == turned
    assert len({one, first, *others}) == 4
    assert len(one) == 16


HEADERS = {
    "x-ainf-deadline-ms": ["", "0", "-5", "1.5", "1e3", "abc", "+5", "1 000", "9999999999"],
    "x-ainf-labels": [
        "run",
        "=x",
        "run=" + "x" * 65,
        "r" * 65 + "=x",
        "a=1,,b=2",
        "run=\x1b[31m",
        "r\x01n=1",
        ",".join(f"l{n}=1" for n in range(11)),
    ],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in HEADERS.items() for value in values])
async def test_headers_that_cannot_be_honoured(name, value, tmp_path, autojump_clock):
    """A header of ours that is wrong is refused by name, and nothing is opened."""
    async with world(tmp_path, "sim") as here:
        client = await here.run(here.client(question("sim"), **{name: value}))
        assert client.status == 400
        assert client.json()["error"]["param"] == name
        assert await here.rows("SELECT count(*) FROM inferences") == [(0,)]


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("", {}),
        ("  ", {}),
        ("run=17", {"run": "17"}),
        (" run = 17 , user=ann=b ", {"run": "17", "user": "ann=b"}),
        ("a=", {"a": ""}),
    ],
)
async def test_labels(text, labels, tmp_path, autojump_clock):
    """Pairs, spaces around them left out."""
    async with world(tmp_path, "sim") as here:
        client = await here.run(here.client(question("sim"), x_ainf_labels=text))
        assert (await here.receipt(client.inference_id))["labels"] == labels


@pytest.mark.threat("S13")
@pytest.mark.parametrize(
    ("text", "count"), [("0", 0), ("12", 12), ("-1", None), ("x", None), ("99999", None), ("", None)]
)
async def test_the_sdks_retry_count(text, count, tmp_path, autojump_clock):
    """Kept where it is a number, and no reason to refuse where it is not."""
    async with world(tmp_path, "sim") as here:
        await here.run(here.client(question("sim"), x_stainless_retry_count=text))
        assert await here.rows("SELECT sdk_retry_count FROM inferences") == [(count,)]


@pytest.mark.parametrize(
    ("key", "is_right"),
    [
        (b"k", True), (b"a key, of 3 words", True), (b"x" * 255, True),
        (b"x" * 256, False), (b"", False), (b"\xe9", False), (b"a\tb", False),
    ],
)  # fmt: skip
def test_idempotency_keys(key, is_right):
    """One to 255 printable ASCII characters; anything else is refused by name."""
    if is_right:
        assert RequestHeaders.read({b"idempotency-key": key}).idempotency_key == key.decode()
        return
    with pytest.raises(DownstreamError) as caught:
        RequestHeaders.read({b"idempotency-key": key})
    assert caught.value.param == "idempotency-key"


def asked(headers: dict[bytes, bytes]) -> Asked:
    """A request with these headers that arrived at the 100th second."""
    listener: Any = None
    protocol: Any = None
    key: Any = None
    return Asked(key, request(), protocol, listener, b"digest", RequestHeaders.read(headers), arrived_at=100.0)


def test_the_claim_of_a_key():
    """There is one where the client sent a key; it is known again by the body."""
    assert asked({}).claim is None
    assert asked({b"idempotency-key": b"k"}).claim == Claim("k", b"digest")


@pytest.mark.parametrize(("header", "due"), [(None, 130.0), (b"5000", 105.0), (b"1", 100.001), (b"999999999", 130.0)])
def test_the_deadline(header, due):
    """The client's own from its arrival, but never later than the longest exchange."""
    assert asked({} if header is None else {b"x-ainf-deadline-ms": header}).deadline_at(30.0) == pytest.approx(due)
