"""The document that the gateway serves of itself, held against what the gateway does."""

from typing import Any

import pytest
import trio

from ainf.http.openapi.errors import CODES_OF, by_status
from ainf.inference.outcome import Ending
from ainf.ledger import Window
from ainf.store import balances
from ainf.store.balances import CreditKind, NewCredit
from ainf.store.base import KeyLimits
from ainf.store.leases import Lease, OwnUptime
from tests.gateway.backends import FORMATS
from tests.gateway.described import described
from tests.gateway.dialects import dialect_of
from tests.gateway.law import check_ledger, check_transcript
from tests.gateway.provoked import (
    AWAY,
    COUNT,
    EMBEDDINGS,
    ENDPOINTS,
    Asker,
    asked_on,
    deeds,
    kill,
    revoke,
    store_fails,
)
from tests.gateway.test_endings import CASES
from tests.gateway.world import Client, World, question, world
from tests.http.openapi.test_requests import HINTS

DESCRIBED = described()
BY_SERVER = {"bad_request"}
"""Of the codes under a path's own statuses, those that the server says before there is a path."""

GENERATE = [on for on in ENDPOINTS if not (on.is_count or on.is_embeddings)]
choosing = pytest.mark.parametrize("on", [*GENERATE, COUNT], ids=lambda on: on.path)
generating = pytest.mark.parametrize("on", GENERATE, ids=lambda on: on.path)
streams = pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
formats = pytest.mark.parametrize("format_", FORMATS)


# --- refusals ---


@pytest.mark.parametrize(
    ("on", "code"), [pytest.param(on, code, id=f"{on.path}-{code}") for on in ENDPOINTS for code in deeds(on)]
)
async def test_each_refusal_is_told_as_it_is_described(on, code, tmp_path, autojump_clock):
    """Its status, its body in the words of the path, and its headers."""
    async with asked_on(tmp_path, on) as asker:
        client = await deeds(on)[code](asker)
        assert client.status != 200
        assert client.json()["error"]["code"] == code
        DESCRIBED.check(client)


@pytest.mark.parametrize("on", ENDPOINTS, ids=lambda on: on.path)
def test_no_refusal_is_described_that_there_is_not(on):
    """What the document has for a path is what the gateway was brought to say there, no more and no less."""
    codes = {code for codes in by_status(CODES_OF[on.path]).values() for code in codes}
    assert codes == set(deeds(on)) | BY_SERVER


# --- answers ---

CAPPED = "sim-tokens-500"
MONEY = "slice_tokens = 8\nmin_output_tokens = 4"


@formats
@streams
@generating
async def test_answers_of_every_ending(on, stream, format_, tmp_path, autojump_clock):
    """Whatever the provider does, of its own format or another's: the answer is as it is described."""
    models = [f"{format_}/{case.model}" for case in CASES]
    async with world(tmp_path, *models, limits="silence_s = 3\nfirst_byte_s = 4\nexchange_s = 30") as here:
        asker = await Asker.new(here, on)
        for model in models:
            client = await asker.ask(model, stream=stream)
            DESCRIBED.check(client)
            await check_transcript(here, client)
            receipt = await here.get(f"/v1/audit/{client.inference_id}", asker.key)
            DESCRIBED.check(receipt)
        await check_ledger(here, admitted=len(models))


@pytest.mark.parametrize("mode", ["extended", "strict", "loud"])
@formats
@streams
@generating
async def test_answers_that_a_cap_cuts(on, stream, format_, mode, tmp_path, autojump_clock):
    """In each way to be told, with the cost and with the limits of the key: as it is described."""
    model = f"{format_}/{CAPPED}"
    async with world(tmp_path, model, more=MONEY) as here:
        limits = KeyLimits(requests_per_minute=5, tokens_per_minute=10_000)
        asker = await Asker.new(here, on, finish_reasons=mode, inject_cost=True, limits=limits)
        await here.set_cap(130_000, key_id=asker.key_id)
        client = await asker.ask(model, stream=stream)
        assert client.status == 200
        assert {"x-ainf-max-tokens", "x-ratelimit-remaining-requests"} <= client.headers.keys()
        DESCRIBED.check(client)
        receipt = await here.get(f"/v1/audit/{client.inference_id}", asker.key)
        assert receipt.json()["ending"] == "spend_cap_exceeded"
        DESCRIBED.check(receipt)


async def until_deadline(asker: Asker) -> None:
    """It comes by itself."""


async def drained(asker: Asker) -> None:
    asker.here.gateway.inflight.shut_down(2.0)


async def killed(asker: Asker) -> None:
    kill(asker)


FROM_BESIDE = {
    Ending.DEADLINE_EXCEEDED: until_deadline, Ending.SHUTDOWN: drained, Ending.TERMINATED: killed, "revoked": revoke,
}  # fmt: skip


@pytest.mark.parametrize("deed", FROM_BESIDE.values(), ids=FROM_BESIDE)
@formats
@generating
async def test_streams_that_are_ended_from_beside(on, format_, deed, tmp_path, autojump_clock):
    """Behind content, and behind an early head with heartbeats: the last event is as it is described."""
    models = [f"{format_}/sim-stall-after-3", f"{format_}/sim-stall-before-head"]
    async with world(tmp_path, *models, limits="early_head_s = 1\nheartbeat_s = 1") as here:
        for model in models:
            asker = await Asker.new(here, on)
            asked = on.body(model, stream=True)
            client = asker.client(asked, x_ainf_deadline_ms="4000")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(here.run, client)
                await trio.sleep(3)
                await deed(asker)
            assert client.is_streamed
            DESCRIBED.check(client)
            said = dialect_of(on.path).read_stream(client.payloads())
            assert said.error is not None
            assert said.ends_with_terminal


FEATURES = {
    "sim-tokens-6-reasoning-5": {}, "sim-tokens-6-refusal": {}, "sim-tokens-6-finish-content_filter": {},
    "sim-tools-tokens-9": "tool", "sim-parallel-tools-tokens-9": "tool", "sim-tokens-6-cached-2": {},
    "sim-tokens-6-no-usage": {}, "sim-tokens-6-json-for-sse": {}, "sim-tokens-6-sse-for-json": {},
}  # fmt: skip


@formats
@streams
@generating
async def test_answers_of_every_kind(on, stream, format_, tmp_path, autojump_clock):
    """Reasoning, tools, refusals, what is made a stream or whole: as it is described."""
    models = {f"{format_}/{model}": needs for model, needs in FEATURES.items()}
    async with world(tmp_path, *models) as here:
        asker = await Asker.new(here, on)
        for model, needs in models.items():
            fields = {"tools": [dialect_of(on.path).tool]} if needs == "tool" else {}
            client = await asker.ask(model, stream=stream, **fields)
            assert client.status == 200, client.body
            DESCRIBED.check(client)


TARGETS = """
[targets.mixed]
models = ["chat/*", "messages/*"]
aliases = ["mix"]
min_quality = 0.6
"""


@choosing
async def test_routed_answers(on, tmp_path, autojump_clock):
    """By a target, with a preference that is known and one that is not, and after a first candidate that failed: as
    it is described, receipt and all."""
    models = ("chat/sim-overloaded", "messages/sim")
    asked: dict[str, dict[str, Any]] = {
        "quality": {"routing_preference": "quality"},
        "balanced": {"routing_preference": "fastest", "max_cost": "1", "task_type": "code"},
    }
    live = f"{TARGETS}[routing]\npreference_live = true\n"
    async with world(tmp_path, *models, more="quality = 0.9", after=live) as here:
        asker = await Asker.new(here, on)
        for name in ("ainf-inference", "mix"):
            for preference, hint in asked.items():
                for mode in {} if on.is_count else {"stream": True}, {}:
                    client = await asker.ask(name, routing_hint=hint, **mode)
                    assert client.status == 200, client.body
                    assert client.headers["x-ainf-routing-preference"] == preference
                    assert client.headers["x-ainf-router"] in {"ainf-inference", "mixed"}
                    DESCRIBED.check(client)
                    if "x-ainf-inference-id" in client.headers:
                        receipt = await here.get(f"/v1/audit/{client.inference_id}", asker.key)
                        assert receipt.json()["routing"]["status"] in {"succeeded", "fell_back"}
                        DESCRIBED.check(receipt)


@generating
async def test_a_routed_stream_that_begins_before_its_model_is_known(on, tmp_path, autojump_clock):
    """Its head names none, and the document says so."""
    model = f"{on.format}/sim-tokens-6-delay-5s"
    async with world(tmp_path, model, limits="early_head_s = 1") as here:
        client = await (await Asker.new(here, on)).ask("ainf-inference", stream=True)
        assert client.status == 200
        assert "x-ainf-model" not in client.headers
        DESCRIBED.check(client)


@choosing
async def test_whatever_leaves_no_model_to_choose(on, tmp_path, autojump_clock):
    """The floor, the cost, what models can do, that they rest, that the key may use none: as it is described."""
    model = f"{on.format}/sim-error-500"
    tool = dialect_of(on.path).tool
    asked: dict[str, dict[str, Any]] = {
        "floor": {"routing_hint": {"min_quality": "frontier"}},
        "cost": {"routing_hint": {"max_cost": "0.000000001"}},
        "tools": {"tools": [tool]},
    }
    async with world(tmp_path, model, more="tools = false") as here:
        asker = await Asker.new(here, on)
        for reason, fields in asked.items():
            client = await asker.ask("ainf-inference", **fields)
            assert (client.status, client.json()["error"]["code"]) == (422, "no_candidate")
            assert client.json()["error"]["routing"]["fell"] == {reason: 1}
            DESCRIBED.check(client)
        client = await asker.ask("ainf-inference", api_base="http://elsewhere.test")
        assert client.json()["error"]["routing"] == {"skipped": {model: "unsupported_parameter"}}
        DESCRIBED.check(client)
        for _ in range(6):
            client = await asker.ask("ainf-inference")
            assert (client.status, client.json()["error"]["code"]) == (503, "all_candidates_failed")
            DESCRIBED.check(client)
        assert client.json()["error"]["routing"]["fell"] == {"resting": 1}
        stranger = await (await Asker.new(here, on, models=("another",))).ask("ainf-inference")
        assert (stranger.status, stranger.json()["error"]["code"]) == (403, "not_permitted")
        DESCRIBED.check(stranger)


async def test_counts_and_embeddings(tmp_path, autojump_clock):
    """A count by the provider and one by the gateway; vectors in both encodings; each kept answer told again."""
    vectors = '\n[models.vectors]\nprovider = "sim"\nupstream_model = "sim"\nkind = "embeddings"\nprice = "free"\n'
    async with world(tmp_path, "chat/sim", "messages/sim", after=vectors) as here:
        count, embed = await Asker.new(here, COUNT), await Asker.new(here, EMBEDDINGS, inject_cost=True)
        evidence = []
        for model in ("chat/sim", "messages/sim"):
            client = await count.ask(model)
            DESCRIBED.check(client)
            evidence.append(client.headers.get("x-ainf-evidence"))
        assert evidence == ["metered", None]
        for encoding in ("float", "base64"):
            for _ in range(2):
                keyed = {"idempotency_key": f"k-{encoding}"}
                client = await embed.ask("vectors", headers=keyed, encoding_format=encoding, input=["a", "b"])
                assert client.status == 200
                DESCRIBED.check(client)
        assert client.headers["x-ainf-idempotent-replay"] == "true"


# --- what is read ---

READS = {
    "/v1/models": "/v1/models", "/v1/models/{name}": "/v1/models/chat/sim", "/v1/usage": "/v1/usage",
    "/v1/audit/{inference_id}": "/v1/audit/inf_none", "/healthz": "/healthz", "/readyz": "/readyz",
    "/metrics": "/metrics", "/openapi.json": "/openapi.json",
}  # fmt: skip
"""Path -> one of its kind."""
WITH_KEY = ("ambiguous_credentials", "invalid_api_key", "rate_limited", "store_unavailable")
REFUSED_READS = [
    *[(path, code) for path in READS for code in WITH_KEY if path.startswith("/v1/")],
    ("/v1/models/{name}", "model_not_found"), ("/v1/audit/{inference_id}", "not_found"),
    ("/v1/usage", "invalid_value"), ("/v1/usage", "unsupported_parameter"),
    ("/readyz", "shutting_down"), ("/readyz", "overloaded"),
    ("/readyz", "store_unavailable"),
]  # fmt: skip
QUERIES = {
    "invalid_value": b"by=colour", "unsupported_parameter": b"colour=red", "csv": b"by=account,day,model&format=csv",
    "tree": b"scope=tree&since=12h&by=day,model,provider,key,account,ending,evidence",
}  # fmt: skip


async def read(here: World, path: str, *, query: bytes = b"", method: str = "GET", **headers: str) -> Client:
    fields = {"authorization": f"Bearer {here.key}"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    client = Client(path, b"", fields, method)
    client.scope["query_string"] = query
    return await here.run(client)


@pytest.mark.parametrize(("path", "code"), REFUSED_READS)
async def test_each_refusal_of_a_read(path, code, tmp_path, autojump_clock):
    """As it is described."""
    async with world(tmp_path, "chat/sim", limits="auth_failures_per_minute = 1") as here:
        asked = "/v1/models/nothing" if code == "model_not_found" else READS[path]
        headers = {"ambiguous_credentials": {"x_api_key": "x"}, "invalid_api_key": {"authorization": "Bearer x"}}
        if code == "rate_limited":
            await read(here, asked, authorization="Bearer x")
            headers[code] = {"authorization": "Bearer x"}
        if code == "store_unavailable":
            store_fails(here, AWAY)
            here.store._lease = Lease(OwnUptime(), 10, is_shared=False, kind="gateway", now=here.clock)  # not begun
        here.gateway.draining = code == "shutting_down"
        here.gateway.running_limit = 0 if code == "overloaded" else 1
        client = await read(here, asked, query=QUERIES.get(code, b""), **headers.get(code, {}))
        assert (client.status == 200, client.json()["error"]["code"]) == (False, code)
        DESCRIBED.check(client)


def test_no_refusal_of_a_read_is_described_that_there_is_not():
    """As for the paths that take requests."""
    for path in READS:
        assert set(CODES_OF.get(path, ())) == {code for at, code in REFUSED_READS if at == path}


@pytest.mark.parametrize("path", READS)
async def test_whatever_else_is_refused(path, tmp_path, autojump_clock):
    """Another method, a defect: as ``default`` describes it."""
    async with world(tmp_path, "chat/sim") as here:
        wrong = await read(here, READS[path], method="DELETE")
        assert (wrong.status, "allow" in wrong.headers) == (405, True)
        DESCRIBED.check(wrong)
        store_fails(here, KeyError("a bug"))
        broken = await read(here, READS[path])
        assert broken.status == (500 if path.startswith("/v1/") else 200)
        DESCRIBED.check(broken)


async def test_what_is_read(tmp_path, autojump_clock):
    """Every document as it is described: with targets, caps, a balance, exchanges open and ended; and its HEAD."""
    slow = "chat/sim-tokens-500-pace-20ms"
    target = f'\n[targets.slow]\nmodels = ["{slow}"]\n'
    async with world(tmp_path, "chat/sim", slow, "chat/sim-error-500", after=target) as here:
        await here.set_cap(10**12, window=Window.MONTH, model="chat/*")
        first = NewCredit("credit_1", CreditKind.TOP_UP, 10**12)
        await here.store.write(
            lambda tx: balances.open_balance(tx, cap_id="balance", account="agents", at=here.clock(), first=first)
        )
        ended = await here.ask("ainf-inference", stream=False)
        await here.ask("chat/sim-error-500")
        running = here.client(question("slow", routing_hint={"min_quality": 0.1}))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, running)
            await trio.sleep(4)
            ((open_id,),) = await here.rows("SELECT inference_id FROM holds")
            told = {
                **READS, "ended": f"/v1/audit/{ended.inference_id}", "open": f"/v1/audit/{open_id}",
                "target": "/v1/models/ainf/auto",
            }  # fmt: skip
            del told["/v1/audit/{inference_id}"]
            got = {name: await read(here, path) for name, path in told.items()}
            got |= {name: await read(here, "/v1/usage", query=QUERIES[name]) for name in ("csv", "tree")}
            heads = [await read(here, path, method="HEAD") for path in told.values()]
            running.leave()
        for client in got.values():
            DESCRIBED.check(client)
        assert {client.status for client in (*got.values(), *heads)} == {200}
        assert (got["open"].json()["state"], got["open"].json()["router"]) == ("open", "slow")
        assert len(got["tree"].json()["rows"]) == 2


# --- requests ---

NAMED = """
[models."gpt-5-mini"]
provider = "sim"
upstream_model = "sim-tokens-6"
max_output_tokens = 4096
price = { input = "1", output = "2" }
quality = 0.9
[models."claude-haiku-4-5"]
provider = "messages"
upstream_model = "sim-tokens-6"
max_output_tokens = 4096
price = { input = "1", output = "2" }
[models."text-embedding-3-small"]
provider = "sim"
upstream_model = "sim"
kind = "embeddings"
price = { input = "1", output = "0" }
"""


@pytest.mark.parametrize("on", ENDPOINTS, ids=lambda on: on.path)
async def test_examples_of_requests_are_answered(on, tmp_path, autojump_clock):
    """Each as it stands, by models of these names; and the answer is as it is described."""
    async with world(tmp_path, after=NAMED) as here:
        asker = await Asker.new(here, on)
        body = DESCRIBED.at(DESCRIBED.document["paths"][on.path]["post"]["requestBody"]["$ref"])
        for example in body["content"]["application/json"]["examples"].values():
            client = await asker.ask(**example["value"])
            assert client.status == 200, client.body
            assert client.is_streamed is bool(example["value"].get("stream"))
            DESCRIBED.check(client)


@choosing
async def test_hints_as_the_schema_has_them(on, tmp_path, autojump_clock):
    """What the schema takes is taken, and what it refuses is refused by name; for a target and for a model alike."""
    async with world(tmp_path, "chat/sim", more="quality = 1") as here:
        asker = await Asker.new(here, on)
        for model in ("ainf-inference", "chat/sim"):
            for hint in HINTS["good"]:
                client = await asker.ask(model, routing_hint=hint)
                refused = client.status != 200 and client.json()["error"]["code"]
                assert refused in {False, "no_candidate"}, (hint, client.body)
                DESCRIBED.check(client)
            for hint in HINTS["bad"]:
                client = await asker.ask(model, routing_hint=hint)
                assert client.status == 400, hint
                assert client.json()["error"]["param"].startswith("routing_hint")
                DESCRIBED.check(client)
