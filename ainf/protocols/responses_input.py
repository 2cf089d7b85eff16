"""How much a Responses request gives the model to read.

Source: OpenAI's API reference, "create a model response", for the input items and their content parts.
"""

from typing import Any, Final

from ainf.protocols.input_size import InputSize, PartKinds, measure_parts

_KINDS: Final = PartKinds(
    texts=(
        None, "message", "input_text", "output_text", "refusal", "summary_text", "reasoning_text", "reasoning",
        "function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output", "item_reference",
        "local_shell_call", "local_shell_call_output", "shell_call", "shell_call_output", "apply_patch_call",
        "apply_patch_call_output", "computer_call", "computer_call_output", "web_search_call", "file_search_call",
        "code_interpreter_call", "logs", "mcp_list_tools", "mcp_approval_request", "mcp_approval_response", "mcp_call",
        "compaction",
    ),
    attachments={
        "input_image": "image", "input_file": "file", "input_audio": "audio", "image": "image",
        "image_generation_call": "image", "computer_screenshot": "image",
    },
    holders=("content", "output", "outputs"),
)  # fmt: skip


def measure_input(value: Any) -> InputSize:  # noqa: ANN401 - the provider judges its shape
    """Return the size of an input of any shape, text or items; none has the size of nothing."""
    return InputSize() if value is None else measure_parts(value, _KINDS)
