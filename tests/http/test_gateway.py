"""From a parsed request to a plan."""

import attrs
import pytest

from ainf.http.asked import fingerprint
from ainf.inference.errors import GatewayError
from ainf.inference.request import InferenceRequest, Operation
from tests.gateway.world import question, world


def request(**fields) -> InferenceRequest:
    return InferenceRequest(
        protocol="chat_completions", path="/", model="sim", stream=False, include_usage=False, max_output_tokens=None,
        input_bytes=1, bound_bytes=1, attachment_count=0, has_tools=False, fields=fields,
    )  # fmt: skip


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


@pytest.mark.parametrize(
    ("text", "count"), [("0", 0), ("12", 12), ("-1", None), ("x", None), ("99999", None), ("", None)]
)
async def test_the_sdks_retry_count(text, count, tmp_path, autojump_clock):
    """Kept where it is a number, and no reason to refuse where it is not."""
    async with world(tmp_path, "sim") as here:
        await here.run(here.client(question("sim"), x_stainless_retry_count=text))
        assert await here.rows("SELECT sdk_retry_count FROM inferences") == [(count,)]


async def test_when_it_is_closed(tmp_path, autojump_clock):
    """Stopping and full are told apart; both are worth a retry."""
    async with world(tmp_path, "sim", limits="running = 1") as here:
        here.gateway.check_open()
        here.gateway.inflight._running["inf_x"] = None
        with pytest.raises(GatewayError, match="overloaded"):
            here.gateway.check_open()
        here.gateway.inflight._running.clear()
        here.gateway.draining = True
        with pytest.raises(GatewayError, match="shutting_down"):
            here.gateway.check_open()
        client = await here.ask()
        assert (client.status, client.headers["x-should-retry"], client.headers["retry-after"]) == (503, "true", "1")


async def test_plans_refuse_before_anything_is_opened(tmp_path, autojump_clock):
    """Unknown model, no right, a field that changes the price: in this order."""
    async with world(tmp_path, "sim") as here:
        narrow = await here.new_key("agents", models=("other",))
        client = await here.run(here.client(question("nope", audio={}), authorization=f"Bearer {narrow}"))
        assert client.json()["error"]["code"] == "model_not_found"
        client = await here.run(here.client(question("sim", audio={}), authorization=f"Bearer {narrow}"))
        assert client.json()["error"]["code"] == "not_permitted"
        client = await here.ask(audio={})
        assert client.json()["error"]["code"] == "unsupported_parameter"
