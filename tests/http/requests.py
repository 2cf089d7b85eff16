"""Requests as protocols parse them, for tests of what becomes of them."""

from typing import Any

from ainf.inference.request import InferenceRequest


def request(**fields: Any) -> InferenceRequest:
    """A request with these fields."""
    return InferenceRequest(
        protocol="chat_completions", path="/", model="sim", stream=False, include_usage=False, max_output_tokens=None,
        input_bytes=1, bound_bytes=1, attachment_count=0, has_tools=False, fields=fields,
    )  # fmt: skip
