import pytest

from ainf.providers.responses_fields import REFUSED_FIELDS, check_responses_fields
from tests.providers.requests import BARE, COVERED, LONG_COVERED, refused

BASE = {"model": "m", "input": "Hi"}
HOSTED = {"type": "web_search"}


@pytest.mark.parametrize("name", sorted(REFUSED_FIELDS))
def test_refused(name):
    """Each listed field is refused by name, and free when it asks for nothing."""
    assert refused(check_responses_fields, BASE | {name: {"x": 1}}, LONG_COVERED) == name
    for nothing in (None, False, []):
        check_responses_fields(BASE | {name: nothing}, BARE)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"service_tier": "flex"}, "service_tier"),
        ({"service_tier": "ultrafast"}, "service_tier"),
        ({"reasoning": {"mode": "pro"}}, "reasoning.mode"),
        ({"reasoning": {"mode": {}}}, "reasoning.mode"),
        ({"include": ["reasoning.encrypted_content", "web_search_call.action.sources"]}, "include[1]"),
        ({"include": ["file_search_call.results"]}, "include[0]"),
        ({"include": ["code_interpreter_call.outputs"]}, "include[0]"),
        ({"tools": [{"type": "function"}, HOSTED]}, "tools[1].type"),
        ({"tools": [{}]}, "tools[0].type"),
        ({"tools": [{"type": ["function"]}]}, "tools[0].type"),
        ({"tools": [{"type": "mcp", "server_url": "http://10.0.0.1"}]}, "tools[0].type"),
        ({"tools": [{"type": "shell", "environment": {"type": "container_auto"}}]}, "tools[0].type"),
        ({"tools": [{"type": "shell", "environment": "odd"}]}, "tools[0].type"),
        ({"tools": [{"type": "tool_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "tool_search", "execution": "server"}]}, "tools[0].type"),
        ({"tools": [{"type": "programmatic_tool_calling"}]}, "tools[0].type"),
        ({"tools": [{"type": "namespace", "tools": [{"type": "custom"}, HOSTED]}]}, "tools[0].tools[1].type"),
        ({"input": [{"type": "additional_tools", "role": "developer", "tools": [HOSTED]}]}, "input[0].tools[0].type"),
        ({"input": [{"type": "tool_search_output", "tools": [HOSTED]}]}, "input[0].tools[0].type"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].id"),
        ({"input": ["odd", {"id": "rs_1"}]}, "input[1].id"),
        ({"input": [{"type": "compaction_trigger"}]}, "input[0].type"),
        ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]},
         "input[0].content[0].file_id"),
        ({"input": [{"type": "function_call_output", "output": [{"type": "input_image", "file_id": "f"}]}]},
         "input[0].output[0].file_id"),
        ({"input": [{"type": "computer_call_output", "output": {"file_id": "f"}}]}, "input[0].output.file_id"),
        ({"input": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "input[0].content[0].type"),
    ],
)  # fmt: skip
def test_refused_values(fields, param):
    """Values, tools and items that change the price, or stand for what we do not see, are refused where they stand."""
    assert refused(check_responses_fields, BASE | fields, LONG_COVERED) == param


MARKED = {
    "input": [{"role": "user", "content": [{"type": "input_text", "prompt_cache_breakpoint": {"mode": "explicit"}}]}]
}


def test_cache_writes():
    """They go on where the price covers them."""
    options = {"prompt_cache_options": {"mode": "explicit"}}
    assert refused(check_responses_fields, BASE | options, BARE) == "prompt_cache_options"
    assert refused(check_responses_fields, BASE | MARKED, BARE) == "input[0].content[0].prompt_cache_breakpoint"
    check_responses_fields(BASE | options | MARKED, COVERED)


@pytest.mark.parametrize(
    "fields",
    [
        {"previous_response_id": "resp_1", "store": True, "prompt_cache_key": "k", "truncation": "auto"},
        {"service_tier": "auto", "reasoning": {"effort": "high", "mode": "standard"}},
        {"instructions": {"malformed": ["anything"]}, "tools": "odd", "include": "odd", "reasoning": "odd"},
        {"include": ["reasoning.encrypted_content", "message.output_text.logprobs", 7]},
        {
            "tools": [
                {"type": kind} for kind in ("function", "custom", "local_shell", "shell", "apply_patch", "computer")
            ]
        },
        {"tools": [{"type": "shell", "environment": None}, {"type": "shell", "environment": {"type": "local"}}]},
        {
            "tools": [
                {"type": "tool_search", "execution": "client"},
                {"type": "namespace", "tools": [{"type": "function"}]},
            ]
        },
        {"input": [{"type": "reasoning", "id": "rs_1", "encrypted_content": "x"}, {"type": "function_call"}]},
        {"input": [{"role": "user", "content": "Hi"}, {"type": "function_call_output", "output": "x"}]},
        {
            "input": [
                {"type": "message", "role": "user", "content": [{"type": "input_image", "image_url": "https://x"}]}
            ]
        },
        {"input": {"odd": 1}},
    ],
)
def test_free(fields):
    """What keeps price, model and host rides along, and odd shapes are the vendor's to refuse."""
    check_responses_fields(BASE | fields, BARE)
