"""Which model a whole gateway chooses for a target: by the key's rights, by what is asked, and by the dial."""

import json
from typing import Any

import pytest

from tests.gateway.backends import FORMATS, model_table
from tests.gateway.capture import (
    BUILT_IN,
    NAMES,
    OWN,
    OWN_TARGET,
    SURFACES,
    Surface,
    check_capture,
    check_captured,
    check_direct,
    check_unadmitted,
    outcomes,
)
from tests.gateway.dialects import MESSAGES, RESPONSES
from tests.gateway.features import FEATURES
from tests.gateway.world import Client, World, world

surfaces = pytest.mark.parametrize("surface", SURFACES, ids=lambda surface: surface.path[4:])


def priced(name: str, dollars: str, more: str = "", provider: str = "sim") -> str:
    """A model at a price of input and output alike, dollars a million tokens."""
    return model_table(name, provider, "sim", f'price = {{ input = "{dollars}", output = "{dollars}" }}\n{more}')


def chosen(client: Client) -> str:
    assert client.status == 200, client.body
    return client.headers["x-ainf-model"]


def only(*models: str) -> str:
    """The built-in target, for these models only."""
    return f"[targets.ainf-inference]\nmodels = {json.dumps(models)}\n"


async def decision(here: World, inference_id: str) -> dict[str, Any]:
    ((body,),) = await here.rows("SELECT body FROM routing_decisions WHERE inference_id = ?", inference_id)
    decided: dict[str, Any] = json.loads(body)
    return decided


# --- rights ---

MODELS = ("chat/sim", "gemini/sim", "messages/sim")
"""As they are ranked: they cost the same."""
FIRST, SECOND, THIRD = MODELS
ALL: dict[str, tuple[str, ...]] = dict.fromkeys(NAMES, MODELS)
PINNED = {model: (model,) for model in MODELS}
RIGHTS: dict[tuple[str, ...], dict[str, tuple[str, ...]]] = {
    ("ainf-inference",): dict.fromkeys(BUILT_IN, MODELS),
    ("ainf-auto",): {"ainf-auto": MODELS},
    ("ainf*",): dict.fromkeys(BUILT_IN, MODELS),
    ("team-*",): dict.fromkeys(OWN, MODELS),
    ("gemini/*", "fast"): dict.fromkeys(NAMES, (SECOND,)) | {"fast": MODELS, SECOND: (SECOND,)},
    (THIRD, SECOND): dict.fromkeys(NAMES, (SECOND, THIRD)) | {SECOND: (SECOND,), THIRD: (THIRD,)},
    ("*",): ALL | PINNED,
    ("chat/*", "ainf-inference"): ALL | dict.fromkeys(OWN, (FIRST,)) | {FIRST: (FIRST,)},
    ("nothing",): {},
}
"""Rights to models -> what may be named, with the models that may answer then, the best first."""


@pytest.mark.parametrize("rights", RIGHTS, ids="+".join)
async def test_rights(rights, tmp_path, autojump_clock):
    """Who may name the target gets any of its models by it; who may pin some gets these; nobody learns of others."""
    async with world(tmp_path, *MODELS, after=OWN_TARGET) as here:
        here.key = await here.new_key("agents", models=rights)
        admitted = 0
        for name in (*NAMES, *MODELS):
            ranked = RIGHTS[rights].get(name, ())
            client = await here.ask(name, stream=False)
            if not ranked:
                assert (client.status, client.json()["error"]["code"]) == (403, "not_permitted")
                continue
            admitted += 1
            assert chosen(client) == ranked[0]
            if name in NAMES:
                await check_captured(here, client.inference_id, name, "succeeded")
                decided = await decision(here, client.inference_id)
                assert tuple(decided["ranked"]) == ranked
                assert set(decided["barred"]) == set(MODELS) - set(ranked)
                told = json.dumps(await here.receipt(client.inference_id))
                assert not [model for model in set(MODELS) - set(ranked) if model in told]
            else:
                await check_direct(here, client)
        await check_capture(here, admitted=admitted, alias_hits=dict.fromkeys(NAMES, 1))


async def test_rights_to_endpoints(tmp_path, autojump_clock):
    """A key for one path asks targets there only; elsewhere it is refused before anything is decided."""
    async with world(tmp_path, "sim") as here:
        here.key = await here.new_key("agents", endpoints=("/v1/messages",))
        for surface in SURFACES:
            client = await here.run(surface.client(here, "ainf-auto", stream=True))
            assert client.status == (200 if surface.path == "/v1/messages" else 403)
        await check_capture(here, admitted=1, alias_hits={"ainf-auto": 1})


# --- what is asked ---

CHEAP_AND_DEAR = {
    "tools": ("tools = false", ""),
    "streaming": ('streaming = "reject"', ""),
    "context": ("context_tokens = 60", "context_tokens = 60000"),
    "image_data": ('attachments = ["audio", "file"]', 'attachments = ["image"]'),
    "document": ('attachments = ["image"]', 'attachments = ["file"]'),
}
"""What is asked -> settings of a cheap model that cannot do it, and of a dear one that can."""


def asking(here: World, surface: Surface, what: str, *, plainly: bool) -> Client:
    fields: dict[str, Any] = {"limit": 20}
    if not plainly:
        match what:
            case "tools":
                fields["tools"] = [surface.dialect.tool]
            case "context":
                fields["limit"] = 100
            case "image_data" | "document":
                (feature,) = [feature for feature in FEATURES if feature.name == what]
                fields |= feature.fields[surface.dialect.format]
    return surface.client(here, "ainf-auto", stream=what == "streaming" and not plainly, **fields)


@surfaces
@pytest.mark.parametrize("what", CHEAP_AND_DEAR)
async def test_a_model_that_can_do_it(what, surface, tmp_path, autojump_clock):
    """The cheap one answers what it can; for what it cannot the dear one is chosen, and the record says why."""
    cheap, dear = CHEAP_AND_DEAR[what]
    fell = {"image_data": "attachments", "document": "attachments"}.get(what, what)
    models = priced("cheap", "1.00", cheap) + priced("dear", "2.00", dear)
    async with world(tmp_path, "sim", after=models + only("cheap", "dear")) as here:
        plain = await here.run(asking(here, surface, what, plainly=True))
        assert chosen(plain) == "cheap"
        client = await here.run(asking(here, surface, what, plainly=False))
        assert chosen(client) == "dear"
        candidates = (await decision(here, client.inference_id))["candidates"]
        assert {each["model"]: each.get("fell") for each in candidates} == {"cheap": fell, "dear": None}
        await check_capture(here, admitted=2, alias_hits={"ainf-auto": 2})


async def test_the_cheapest_at_the_price_in_force(tmp_path, autojump_clock):
    """Cost decides, then latency, then the name."""
    cases = [
        ({"b": ("1.00", ""), "a": ("2.00", "")}, "b"),
        ({"b": ("1.00", "latency_ms = 100"), "a": ("1.00", "latency_ms = 200")}, "b"),
        ({"b": ("1.00", "latency_ms = 100"), "a": ("1.00", "")}, "b"),
        ({"b": ("1.00", ""), "a": ("1.00", "")}, "a"),
    ]
    for models, best in cases:
        text = "".join(priced(name, *how) for name, how in models.items())
        async with world(tmp_path, "sim", after=text + only(*models)) as here:
            assert chosen(await here.ask("ainf-inference")) == best


OTHER_PROVIDER = """
[providers.other]
format = "openai-responses"
base_url = "http://other.test/v1"
api_key_env = "SIM_KEY"
"""


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("provider", [name for name, _, _ in FORMATS.values()])
async def test_no_model_is_asked_for_more_than_it_gives(provider, stream, tmp_path, autojump_clock):
    """Who names no model cannot know its output limit: a higher one is lowered, and told; each model has its own."""
    small = priced("small", "1", "max_output_tokens = 50", provider)
    large = priced("large", "2", "max_output_tokens = 4000", provider)
    async with world(tmp_path, "sim", after=small + large + only("small", "large")) as here:
        for surface in SURFACES:
            for limit, sent in ((32_000, 50), (50, 50), (20, 20)):
                client = await here.run(surface.client(here, "ainf-auto", stream=stream, limit=limit))
                assert chosen(client) == "small"
                assert client.headers.get("x-ainf-max-tokens") == ("50" if limit > sent else None)
                assert here.simulator.books.entries[-1].max_tokens == sent
        named = await here.ask("small", stream=stream, max_tokens=32_000)
        assert (named.status, here.simulator.books.entries[-1].max_tokens) == (200, 32_000)
        assert "x-ainf-max-tokens" not in named.headers
        await check_capture(here, admitted=13, alias_hits={"ainf-auto": 12})


async def test_who_cannot_think_as_much_as_is_asked(tmp_path, autojump_clock):
    """A model whose own limit leaves nothing beside the thinking budget is passed over."""
    small = priced("small", "1", "max_output_tokens = 2000", "messages")
    large = priced("large", "2", "max_output_tokens = 40000", "messages")
    async with world(tmp_path, "sim", after=small + large + only("small", "large")) as here:
        for budget, model, limit in ((1500, "small", 2000), (3000, "large", 32_000)):
            thinking = {"type": "enabled", "budget_tokens": budget}
            client = await here.speak(MESSAGES, "ainf-auto", limit=32_000, thinking=thinking)
            assert chosen(client) == model
            asked = json.loads(here.simulator.books.entries[-1].request_body or b"")
            assert (asked["max_tokens"], asked["thinking"]) == (limit, thinking)
        assert (await here.receipt(client.inference_id))["notes"] == {"routing_skipped": {"small": "invalid_value"}}


async def test_a_stored_response_is_gone_on_from_where_it_is(tmp_path, autojump_clock):
    """Only models of the provider that has it are tried, however cheap the others are; elsewhere nobody can."""
    models = priced("a", "1.00", "", "responses") + priced("b", "2.00", "", "other")
    async with world(tmp_path, "chat/sim", after=OTHER_PROVIDER + models + OWN_TARGET) as here:
        first = await here.speak(RESPONSES, "b", stream=False)
        asked = {"previous_response_id": first.json()["id"]}
        for stream in (True, False):
            client = await here.speak(RESPONSES, "fast", stream=stream, **asked)
            assert chosen(client) == "b"
            candidates = (await decision(here, client.inference_id))["candidates"]
            assert {each["model"]: each.get("fell") for each in candidates} == {
                "a": "stored", "b": None, "chat/sim": "stored",
            }  # fmt: skip
        here.key = await here.new_key("agents", models=("a", "chat/sim"))
        client = await here.speak(RESPONSES, "fast", **asked)
        assert (client.status, client.json()["error"]["param"]) == (422, "previous_response_id")
        await check_unadmitted(here, client, "fast", "rejected_ability")
        await check_capture(here, admitted=3, unadmitted=1, alias_hits={"fast": 3})


async def test_a_stored_response_that_is_nobodys(tmp_path, autojump_clock):
    """One that never was, and another account's, are the same to a target: no model can go on from it."""
    async with world(tmp_path, "chat/sim", "responses/sim", after=OWN_TARGET) as here:
        first = await here.speak(RESPONSES, "responses/sim", stream=False)
        await here.new_account("strangers")
        here.key = await here.new_key("strangers", key_id="k0000009")
        told = []
        for response_id in (first.json()["id"], "resp_nobody"):
            client = await here.speak(RESPONSES, "fast", previous_response_id=response_id)
            assert client.status == 422
            await check_unadmitted(here, client, "fast", "rejected_ability")
            told.append({name: value for name, value in client.json()["error"].items() if name != "request_id"})
        assert told[0] == told[1]
        await check_capture(here, admitted=1, unadmitted=2, alias_hits={"fast": 2})


async def test_what_was_stored_by_a_later_candidate(tmp_path, autojump_clock):
    """After a fallback, the response is the later provider's: who goes on from it is sent there."""
    models = model_table("a", "responses", "sim-error-500") + model_table("b", "other", "sim-tokens-5")
    async with world(tmp_path, "chat/sim", after=OTHER_PROVIDER + models + only("a", "b")) as here:
        first = await here.speak(RESPONSES, "ainf-auto", stream=False)
        assert chosen(first) == "b"
        client = await here.speak(RESPONSES, "ainf-auto", previous_response_id=first.json()["id"])
        assert chosen(client) == "b"
        assert (await decision(here, client.inference_id))["ranked"] == ["b"]
        await check_captured(here, first.inference_id, "ainf-auto", "fell_back")
        await check_capture(here, admitted=2, alias_hits={"ainf-auto": 2})


# --- the dial ---

RATED = (
    priced("plain", "1.00", "quality = 0.65")
    + priced("good", "2.00", "quality = 0.75")
    + priced("best", "3.00", "quality = 0.85")
)
DIALLED = '[targets.team-fast]\naliases = ["fast"]\nmin_quality = 0.7\nmodels = ["plain", "good", "best"]\n'
PREFERENCES = {"quality": "best", "balanced": "good", "cost": "plain", "thrift": "good", None: "good"}
"""What is preferred -> the model that answers where the dial is live."""


def dialled(surface: Surface, here: World, preference: str | None, **hint: Any) -> Client:
    if preference is not None:
        hint["routing_preference"] = preference
    return surface.client(here, "fast", stream=False, **({"routing_hint": hint} if hint else {}))


@surfaces
@pytest.mark.parametrize("live", [True, False], ids=["on", "off"])
async def test_the_dial(live, surface, tmp_path, autojump_clock):
    """Switched on it moves the floor that nobody named, switched off it moves nothing; the head says what held."""
    gate = f"\n[routing]\npreference_live = {str(live).lower()}\n"
    async with world(tmp_path, "sim", after=RATED + DIALLED + gate) as here:
        for preference, best in PREFERENCES.items():
            client = await here.run(dialled(surface, here, preference))
            assert chosen(client) == (best if live else "good")
            held = None if preference is None else preference if live and preference != "thrift" else "balanced"
            assert client.headers.get("x-ainf-routing-preference") == held
            decided = await decision(here, client.inference_id)
            assert decided.get("unknown_preference") == ("thrift" if preference == "thrift" else None)
            moved = live and preference in {"quality", "cost"}
            assert decided["floor_from"] == ("dial" if moved else "default")
            client = await here.run(dialled(surface, here, preference, min_quality=0.65))
            assert chosen(client) == "plain", "the caller's own floor wins"
            assert client.headers.get("x-ainf-routing-preference") == (None if preference is None else "balanced")
        await check_capture(here, admitted=2 * len(PREFERENCES), alias_hits={"fast": 2 * len(PREFERENCES)})


@pytest.mark.parametrize("live", [True, False], ids=["on", "off"])
async def test_balanced_is_as_if_nothing_was_preferred(live, tmp_path, autojump_clock):
    """In the database the two records are the same bytes; with the dial off, those of every known preference."""
    gate = f"\n[routing]\npreference_live = {str(live).lower()}\n"
    same = ("balanced", None) if live else ("balanced", "quality", "cost", None)
    async with world(tmp_path, "sim", after=RATED + DIALLED + gate) as here:
        for surface in SURFACES:
            for preference in same:
                await here.run(dialled(surface, here, preference))
            for preference in same:
                await here.run(dialled(surface, here, preference, min_quality=0.99))
        rows = await here.rows(
            "SELECT i.path, d.body, d.ruleset FROM routing_decisions AS d NATURAL JOIN inferences AS i"
        )
        refused = [(row["path"], row["decision"]) for row in await outcomes(here) if row["inference_id"] is None]
        assert len(rows) == len(refused) == len(SURFACES) * len(same)
        assert len(set(rows)) == len(set(refused)) == len(SURFACES)
        hits = {"fast": 2 * len(rows)}
        await check_capture(here, admitted=len(rows), unadmitted=len(rows), alias_hits=hits)


# --- learning ---


async def test_what_one_client_makes_of_a_model_refuses_no_other(tmp_path, autojump_clock):
    """An answer that its client cut short makes others be asked rather; where all were, none is below the floor."""
    models = priced("cheap", "1") + priced("dear", "2")
    learning = "[routing]\nlearning = true\n"
    async with world(tmp_path, "sim", after=models + learning + only("cheap", "dear")) as here:
        told = []
        for limit in (1, 50, 1, 50):
            client = await here.ask("ainf-auto", max_tokens=limit)
            decided = await decision(here, client.inference_id)
            told.append((chosen(client), {each["quality_from"] for each in decided["candidates"]}))
        assert told == [
            ("cheap", {"prior"}),
            ("dear", {"prior", "blended"}),
            ("dear", {"blended"}),
            ("cheap", {"prior"}),
        ]
        await check_capture(here, admitted=4, alias_hits={"ainf-auto": 4})
