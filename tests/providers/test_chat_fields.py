import pytest

from ainf.inference.errors import DownstreamError
from ainf.providers.chat_fields import REFUSED_FIELDS, check_chat_fields, check_reasoning_is_shown
from tests.providers.requests import AUDIO, BARE, COVERED, LONG_COVERED, refused

BASE = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
MARK = {"type": "ephemeral"}
LONG_MARK = MARK | {"ttl": "1h"}


@pytest.mark.parametrize("name", sorted(REFUSED_FIELDS))
def test_refused(name):
    """Each listed field is refused by name with its reason, and is free when it asks for nothing."""
    with pytest.raises(DownstreamError) as caught:
        check_chat_fields(BASE | {name: {"x": 1}}, BARE)
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", name)
    assert REFUSED_FIELDS[name] in caught.value.message
    for nothing in (None, False, []):
        check_chat_fields(BASE | {name: nothing}, BARE)


def part(**fields):
    return {"messages": [{}, {"role": "user", "content": ["a", {"type": "text", "text": "x"} | fields]}]}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"service_tier": "flex"}, "service_tier"),
        ({"service_tier": "priority"}, "service_tier"),
        ({"service_tier": ["default"]}, "service_tier"),
        ({"service_tier": {}}, "service_tier"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"modalities": "text"}, "modalities"),
        ({"tools": [{"type": "function"}, {"type": "web_search"}]}, "tools[1].type"),
        ({"tools": [{"type": "mcp", "server_url": "http://x"}]}, "tools[0].type"),
        ({"tools": [{"type": ["function"]}]}, "tools[0].type"),
        (part(type="input_audio"), "messages[1].content[1].type"),
        (part(type="file", file={"file_id": "f"}), "messages[1].content[1].file.file_id"),
        ({"prompt_cache_options": {"ttl": "30m"}}, "prompt_cache_options"),
        ({"prompt_cache_retention": "24h"}, "prompt_cache_retention"),
        ({"prompt_cache_retention": {}}, "prompt_cache_retention"),
        (part(prompt_cache_breakpoint={"mode": "explicit"}), "messages[1].content[1].prompt_cache_breakpoint"),
        (part(cache_control=MARK), "messages[1].content[1].cache_control"),
        ({"cache_control": MARK}, "cache_control"),
        ({"messages": [{"role": "user", "content": "x", "cache_control": MARK}]}, "messages[0].cache_control"),
        ({"tools": [{"type": "function", "cache_control": MARK}]}, "tools[0].cache_control"),
    ],
)
def test_refused_values(fields, param):
    """Values, tools and parts that change the price are refused where they stand."""
    assert refused(check_chat_fields, BASE | fields, BARE) == param


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt_cache_options": {"mode": "explicit"}},
        part(prompt_cache_breakpoint={"mode": "explicit", "ttl": "30m"}),
        part(cache_control=MARK),
        {"cache_control": MARK | {"ttl": "5m"}},
    ],
)
def test_cache_writes_that_the_price_covers(fields):
    """A write to a cache goes on where the model's price has one."""
    check_chat_fields(BASE | fields, COVERED)


def test_sound_that_the_price_covers():
    """What the model shall hear goes on where its price has a rate for it; what it shall say never does."""
    check_chat_fields(BASE | part(type="input_audio", input_audio={"data": "", "format": "wav"}), AUDIO)
    assert refused(check_chat_fields, BASE | {"modalities": ["text", "audio"]}, AUDIO) == "modalities"
    assert refused(check_chat_fields, BASE | {"audio": {"voice": "alloy"}}, AUDIO) == "audio"


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt_cache_options": {"ttl": "12h"}},
        {"prompt_cache_retention": "24h"},
        part(prompt_cache_breakpoint={"mode": "explicit", "ttl": "12h"}),
        part(cache_control=LONG_MARK),
        {"cache_control": MARK | {"ttl": ["5m"]}},
        {"cache_control": "ephemeral"} | {"cache_control": {"ttl": "24h"}},
    ],
)
def test_long_cache_writes(fields):
    """A longer one has a price of its own."""
    assert "cache" in refused(check_chat_fields, BASE | fields, COVERED)
    check_chat_fields(BASE | fields, LONG_COVERED)


@pytest.mark.parametrize("name", ["prewarm", "comparison_response_id"])
def test_cache_options_that_no_price_covers(name):
    """A request without an answer, and one that looks at others' responses, are refused whatever the price."""
    fields = BASE | {"prompt_cache_options": {name: "x"}}
    assert refused(check_chat_fields, fields, LONG_COVERED) == f"prompt_cache_options.{name}"


@pytest.mark.parametrize("tool", [{}, {"type": None}, {"function": {"name": "f"}}, {"google_search": {}}])
def test_a_tool_without_a_type(tool):
    """It is told what is missing, not that the gateway refuses its kind."""
    with pytest.raises(DownstreamError, match=r"`tools\[1\]\.type` is required") as caught:
        check_chat_fields(BASE | {"tools": [{"type": "function"}, tool]}, BARE)
    assert (caught.value.code, caught.value.param) == ("missing_field", "tools[1].type")


@pytest.mark.parametrize(
    "fields",
    [
        {"service_tier": "default"},
        {"service_tier": "auto"},
        {"service_tier": None},
        {"modalities": ["text"]},
        {"prompt_cache_retention": "in_memory", "prompt_cache_key": "k"},
        {"tools": None},
        {"tools": [{"type": "function"}, {"type": "custom"}]},
        {"store": True, "seed": 1, "logprobs": True, "reasoning_effort": "low", "x_new": {"provider": 1}},
        {"messages": [{"content": [{"type": "image_url", "image_url": {"url": "http://10.0.0.1/x.png"}}, "bare"]}]},
    ],
)
def test_free(fields):
    """What keeps price, model and host rides along."""
    check_chat_fields(BASE | fields, BARE)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"include_reasoning": False}, "include_reasoning"),
        ({"reasoning_format": "hidden"}, "reasoning_format"),
        ({"reasoning": {"exclude": True}}, "reasoning.exclude"),
    ],
)
def test_reasoning_that_would_be_hidden(fields, param):
    """Where reasoning is shown, nobody can have it billed unseen."""
    assert refused(check_reasoning_is_shown, fields) == param


def test_reasoning_that_is_shown():
    """How it is shown is the client's affair."""
    check_reasoning_is_shown({"include_reasoning": True, "reasoning_format": "parsed", "reasoning": {"effort": "low"}})
