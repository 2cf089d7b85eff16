import pytest

from ainf.inference.errors import DownstreamError
from ainf.providers.openai_fields import REFUSED_FIELDS, check_fields

BASE = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}


@pytest.mark.parametrize("name", sorted(REFUSED_FIELDS))
def test_refused(name):
    """Each listed field is refused by name with its reason, and is free when null or false."""
    with pytest.raises(DownstreamError) as caught:
        check_fields(BASE | {name: {"x": 1}})
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", name)
    assert REFUSED_FIELDS[name] in caught.value.message
    check_fields(BASE | {name: None})
    check_fields(BASE | {name: False})


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
        ({"messages": [{"content": [{"type": "input_audio"}]}]}, "messages[0].content[0].type"),
        (
            {"messages": [{}, {"content": ["a", {"type": "file", "file": {"file_id": "f"}}]}]},
            "messages[1].content[1].file.file_id",
        ),
        (
            {"messages": [{"content": [{"type": "text", "prompt_cache_breakpoint": {"mode": "explicit"}}]}]},
            "messages[0].content[0].prompt_cache_breakpoint",
        ),
    ],
)
def test_refused_values(fields, param):
    """Values, tools and parts that change the price are refused where they stand."""
    with pytest.raises(DownstreamError) as caught:
        check_fields(BASE | fields)
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", param)


@pytest.mark.parametrize("tool", [{}, {"type": None}, {"function": {"name": "f"}}, {"google_search": {}}])
def test_a_tool_without_a_type(tool):
    """It is told what is missing, not that the gateway refuses its kind."""
    with pytest.raises(DownstreamError, match=r"`tools\[1\]\.type` is required") as caught:
        check_fields(BASE | {"tools": [{"type": "function"}, tool]})
    assert (caught.value.code, caught.value.param) == ("missing_field", "tools[1].type")


@pytest.mark.parametrize(
    "fields",
    [
        {"service_tier": "default"},
        {"service_tier": "auto"},
        {"service_tier": None},
        {"modalities": ["text"]},
        {"tools": None},
        {"tools": [{"type": "function"}, {"type": "custom"}]},
        {"store": True, "seed": 1, "logprobs": True, "reasoning_effort": "low", "x_new": {"provider": 1}},
        {"messages": [{"content": [{"type": "image_url", "image_url": {"url": "http://10.0.0.1/x.png"}}, "bare"]}]},
    ],
)
def test_free(fields):
    """What keeps price, model and host rides along."""
    check_fields(BASE | fields)
