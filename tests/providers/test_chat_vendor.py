import json

import attrs
import pytest

from ainf.inference.request import Operation
from ainf.inference.secret import Secret
from ainf.providers.base import Facts
from ainf.providers.chat_vendor import CHAT_AND_EMBEDDINGS, ChatVendor
from tests.providers.requests import (
    BARE,
    TARGET,
    WITHOUT_THOUGHTS,
    passes,
    refused_by,
    request_of,
    shown,
    translated,
    written,
)

PLAIN = ChatVendor(name="plain", facts=Facts(hidden_reasoning="always"), formats=CHAT_AND_EMBEDDINGS)
ODD = ChatVendor(
    name="odd",
    facts=Facts(max_tokens_field="max_tokens"),
    refused={"guard": "it is dear"},
    refused_parts={"document_url": "it is dear"},
    unknown=frozenset({"user", "logprobs"}),
    unknown_in_messages=frozenset({"name"}),
    renamed={"seed": "random_seed", "max_completion_tokens": "max_tokens"},
    roles={"developer": "system"},
    replays_thoughts=False,
    asks_for_usage=False,
)
OLDER = attrs.evolve(TARGET, max_tokens_field="max_tokens")
FIELDS = {
    "model": "asked",
    "messages": [{"role": "user", "content": "Grüß \u2028"}],
    "x_unknown": {"a": [1, None, 0.1]},
}
EMBED = {"operation": Operation.EMBED}


def sent(vendor=PLAIN, limit=None, *, target=TARGET, stream=False, **fields):
    path, body = written(vendor, FIELDS | fields, limit, target=target, stream=stream)
    assert path == "/chat/completions"
    return body


def test_fields_as_they_came():
    """A request goes on with its fields untouched but for the model."""
    assert sent() == FIELDS | {"model": "up-1"}
    assert sent(stream_options={"x": 1}, user="u") == FIELDS | {
        "model": "up-1",
        "stream_options": {"x": 1},
        "user": "u",
    }


@pytest.mark.parametrize("options", [..., None, {"include_usage": False}, {"include_obfuscation": False}])
def test_usage_is_always_asked_for(options):
    """A stream asks for usage whatever the client said, and keeps its other options."""
    fields = {} if options is ... else {"stream_options": options}
    body = sent(stream=True, **fields)
    assert body["stream"] is True
    assert body["stream_options"]["include_usage"] is True
    assert body["stream_options"].get("include_obfuscation") == (
        options.get("include_obfuscation") if isinstance(options, dict) else None
    )


@pytest.mark.parametrize(
    ("vendor", "target"), [(ODD, TARGET), (PLAIN, attrs.evolve(TARGET, reports_usage=False))], ids=["vendor", "model"]
)
def test_usage_is_not_asked_for_where_that_is_no_use(vendor, target):
    """Where the vendor tells it unasked, or the model never does, nothing asks; other options stay."""
    assert "stream_options" not in sent(vendor, target=target, stream=True, stream_options={"include_usage": True})
    assert "stream_options" not in sent(vendor, target=target, stream=True)
    options = {"include_usage": True, "other": 1}
    assert sent(vendor, target=target, stream=True, stream_options=options)["stream_options"] == {"other": 1}


def test_a_model_that_does_not_stream():
    """It is asked for a whole answer, without the options of a stream."""
    body = sent(target=attrs.evolve(TARGET, streams=False), stream=True, stream_options={"include_usage": True})
    assert body["stream"] is False
    assert "stream_options" not in body


@pytest.mark.parametrize(
    ("fields", "limit", "limits"),
    [
        ({"max_tokens": 50}, None, {"max_tokens": 50}),
        ({"max_tokens": 50}, 20, {"max_tokens": 20}),
        ({"max_completion_tokens": 50}, 20, {"max_completion_tokens": 20}),
        ({"max_completion_tokens": 50, "max_tokens": 50}, 20, {"max_completion_tokens": 20, "max_tokens": 20}),
        ({"max_tokens": None}, 20, {"max_tokens": None, "max_completion_tokens": 20}),
        ({}, 20, {"max_completion_tokens": 20}),
        ({}, None, {}),
    ],
)
def test_output_limit(fields, limit, limits):
    """A clamped limit goes into the field that the client used, else into the one that the model's provider wants."""
    body = sent(PLAIN, limit, **fields)
    assert {name: value for name, value in body.items() if name.startswith("max_")} == limits


@pytest.mark.parametrize(
    ("fields", "limit", "limits"),
    [
        ({"max_completion_tokens": 50}, None, {"max_tokens": 50}),
        ({"max_completion_tokens": 50}, 20, {"max_tokens": 20}),
        ({"max_completion_tokens": 50, "max_tokens": 50}, 20, {"max_tokens": 20}),
        ({"seed": 7}, None, {"random_seed": 7}),
        ({"seed": 7, "random_seed": 8}, None, {"random_seed": 8}),
    ],
)
def test_renamed_fields(fields, limit, limits):
    """A vendor's own name of a field is used; what the client said in it stands."""
    body = sent(ODD, limit, target=OLDER, **fields)
    assert {name: body[name] for name in body.keys() - FIELDS.keys()} == limits


@pytest.mark.parametrize(("limit", "said"), [(None, 50), (20, 20)])
@pytest.mark.parametrize("target", [TARGET, OLDER], ids=["newer", "older"])
def test_output_limit_of_a_translated_request(target, limit, said):
    """It is said in the field that the target wants, clamped or not; a client's own words stay as they are."""
    body, _ = translated(PLAIN, limit, target=target)
    assert {name: value for name, value in body.items() if name.startswith("max_")} == {target.max_tokens_field: said}
    native = sent(PLAIN, limit, target=target, max_completion_tokens=50)
    assert {name: value for name, value in native.items() if name.startswith("max_")} == {"max_completion_tokens": said}


def test_thoughts_of_a_translated_request():
    """Where they cannot be sent back they are left out, and a message of which nothing is left; else they stay."""
    body, fields = translated(ODD)
    assert body["messages"] == WITHOUT_THOUGHTS
    body, fields = translated(PLAIN)
    assert body["messages"] == fields["messages"]
    assert [message.get("reasoning_content") for message in body["messages"]] == [None, "hm", "hm", "hm", None]
    assert body["messages"][1]["reasoning_details"] == [{"type": "reasoning.encrypted", "data": "c2VjcmV0", "index": 0}]


def test_thoughts_of_a_native_request():
    """They are the client's own words: whatever the vendor makes of them, they are sent."""
    messages = [
        {"role": "assistant", "content": "", "reasoning_content": "hm"},
        {"role": "assistant", "content": "Hello", "reasoning": "hm", "reasoning_details": [{"type": "reasoning.text"}]},
    ]
    assert sent(ODD, messages=messages)["messages"] == messages


def test_renamed_roles():
    """A role that the vendor lacks is said as the one that it has, in any place; nothing else of a message changes."""
    messages = [{"role": "developer", "content": "Be brief."}, "odd", {"role": ["developer"]}, FIELDS["messages"][0]]
    body = sent(ODD, messages=messages)
    assert body["messages"] == [{"role": "system", "content": "Be brief."}, *messages[1:]]
    assert sent(PLAIN, messages=messages)["messages"] == messages


def test_the_request_is_left_alone():
    """Writing changes nothing in the request: a later attempt writes it again."""
    thought = {"role": "assistant", "content": "x", "reasoning_content": "hm"}
    fields = {"messages": [thought], "stream_options": {"include_usage": False}, "seed": 1, "user": None}
    before = json.dumps(fields)
    for vendor in (PLAIN, ODD):
        for protocol in ("chat_completions", "messages"):
            request = request_of(fields, stream=True, protocol=protocol)
            vendor.write_request(request, attrs.evolve(OLDER, upstream_model="other"), 5)
    assert json.dumps(fields) == before


def test_fields_that_the_vendor_answers_with_an_error():
    """They are refused by name, and left out where they ask for nothing."""
    assert refused_by(ODD, FIELDS | {"user": "me"}) == "user"
    assert refused_by(ODD, FIELDS | {"logprobs": True}) == "logprobs"
    assert passes(ODD, FIELDS | {"user": None, "logprobs": False})
    body = sent(ODD, user=None, logprobs=False)
    assert body.keys() == FIELDS.keys()


def test_messages_that_the_vendor_answers_with_an_error():
    """Fields of messages likewise, but for the results of tools, which have a name of their own."""
    named = {"role": "user", "name": "ann", "content": "x"}
    assert refused_by(ODD, {"messages": ["odd", named]}) == "messages[1].name"
    assert passes(ODD, {"messages": [{"role": "tool", "name": "f", "content": "x"}, named | {"name": None}]})
    assert passes(PLAIN, {"messages": [named]})


def test_what_changes_the_price():
    """The vendor's own fields and parts are refused beside those of every vendor."""
    assert refused_by(ODD, FIELDS | {"guard": [1]}) == "guard"
    assert refused_by(ODD, FIELDS | {"provider": {"only": ["x"]}}) == "provider"
    part = {"type": "document_url", "document_url": "https://x"}
    assert refused_by(ODD, {"messages": [{"role": "user", "content": [part]}]}) == "messages[0].content[0].type"
    assert passes(PLAIN, FIELDS | {"guard": [1]})


def test_reasoning_is_only_hidden_where_all_output_is_held():
    """A vendor that shows its reasoning is held for what it shows."""
    assert refused_by(ODD, FIELDS | {"include_reasoning": False}) == "include_reasoning"
    assert passes(PLAIN, FIELDS | {"include_reasoning": False})


def test_embeddings():
    """They go to their own path, in OpenAI's words, or in the vendor's."""
    fields = {"model": "asked", "input": ["a"], "seed": 1}
    assert written(PLAIN, fields, **EMBED) == ("/embeddings", fields | {"model": "up-1"})
    assert written(ODD, fields, **EMBED)[1] == {"model": "up-1", "input": ["a"], "random_seed": 1}
    assert refused_by(PLAIN, fields | {"models": ["x"]}, **EMBED) == "models"
    assert refused_by(ODD, fields | {"user": "x"}, **EMBED) == "user"
    assert passes(PLAIN, fields, **EMBED)


def test_credential():
    """The key goes into the bearer header."""
    assert shown(PLAIN.credential(Secret(b"sk-1"))) == ((b"authorization", b"Bearer sk-1"),)


def test_refusals():
    """They are read as all vendors' are."""
    assert PLAIN.read_error(529, {}, b"").code == "upstream_overloaded"
    assert refused_by(PLAIN, FIELDS | {"service_tier": "flex"}, BARE) == "service_tier"
