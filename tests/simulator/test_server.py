import json

import pytest
import trio
from openai.types import Model

from ainf.simulator import Simulator, parse_model, run_simulator
from tests.simulator.client import exchange, post, request_bytes, send, take


async def test_models_are_listed_and_are_models():
    """GET /v1/models gives OpenAI's list, each of which can be asked."""
    taken = await send(Simulator(), post(b"", path="/v1/models", method="GET"))

    models = [Model.model_validate(model, strict=True) for model in json.loads(taken.body)["data"]]
    assert models
    for model in models:
        parse_model(model.id)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (post(b"{}", path="/v1/nothing"), 404),
        (post(b"", method="GET"), 405),
        (request_bytes("gpt-4o"), 404),
        (request_bytes("sim-nonsense"), 404),
        (request_bytes().replace(b"application/json", b"text/plain"), 415),
    ],
)
async def test_refusals(request_, status):
    """A wrong path, method, model or content-type is refused with an error body, and the books have it."""
    simulator = Simulator()
    taken = await send(simulator, request_)

    assert taken.status == status
    assert json.loads(taken.body)["error"]["message"]
    assert taken.headers["x-request-id"] == "req_sim_00000001"
    assert simulator.books.entries[0].status == status
    assert simulator.books.totals().billed_input_tokens == 0


@pytest.mark.parametrize(("headers", "status"), [((), 401), (["authorization: Bearer no"], 401)])
async def test_a_key_may_be_required(headers, status):
    """With an api_key only that bearer token is served."""
    right = ["authorization: Bearer sk-right"]
    simulator = Simulator(api_key="sk-right")

    assert (await exchange(simulator, headers=headers)).status == status
    assert (await exchange(simulator, headers=right)).status == 200


@pytest.mark.parametrize("model", ["sim", "sim-parallel-tools", "sim-reasoning-4-comments", "sim-gzip", "bench-burst"])
@pytest.mark.parametrize("stream", [True, False])
async def test_the_same_seed_gives_the_same_bytes(model, stream):
    """Answers are a pure function of seed and request number; another seed or number gives other text."""
    one, two, other = Simulator(seed=1), Simulator(seed=1), Simulator(seed=2)
    first = [(await exchange(one, model, stream=stream)).raw for _ in range(2)]
    second = [(await exchange(two, model, stream=stream)).raw for _ in range(2)]

    assert first == second
    assert (await exchange(other, model, stream=stream)).raw != first[0]
    assert (first[0] == first[1]) == model.startswith("bench")


async def test_it_listens_on_loopback_and_says_where():
    """The base URL is known once it listens; books, script and reset work from outside."""
    simulator = Simulator()
    async with trio.open_nursery() as nursery:
        url = await nursery.start(run_simulator, simulator)
        assert url == simulator.base_url
        assert url.startswith("http://127.0.0.1:")
        assert url == f"{simulator.origin}/v1"
        assert simulator.gemini_base_url == f"{simulator.origin}/v1beta"
        port = int(url.split(":")[2].partition("/")[0])

        async def ask(raw):
            client = await trio.open_tcp_stream("127.0.0.1", port)
            async with client:
                await client.send_all(raw)
                return await take(client)

        await ask(request_bytes("sim-tokens-3"))
        books = json.loads((await ask(post(b"", path="/sim/books", method="GET"))).body)
        assert [entry["output_tokens"] for entry in books["entries"]] == [3]
        assert books["totals"]["completed"] == 1

        script = json.dumps({"answers": [[{"send": "HTTP/1.1 418 Tea\r\n\r\n"}, {"wait": 0}, {"close": True}]]})
        assert (await ask(post(script.encode(), path="/sim/script"))).status == 200
        assert (await ask(request_bytes())).raw == b"HTTP/1.1 418 Tea\r\n\r\n"
        assert (await ask(post(b"[]", path="/sim/script"))).status == 400
        assert (await ask(post(b"", path="/sim/else"))).status == 404

        await ask(post(b"", path="/sim/reset"))
        books = json.loads((await ask(post(b"", path="/sim/books", method="GET"))).body)
        assert books["entries"] == []
        nursery.cancel_scope.cancel()


async def test_constant_answers_are_kept_within_a_bound():
    """However many different requests ask a bench model, only so many answers are kept."""
    simulator = Simulator()
    for tokens in range(1, 100):
        await exchange(simulator, "bench-json", stream=False, max_tokens=tokens)

    assert len(simulator._constant) <= 64
