"""The request: what it shows, and what it forgets."""

from ainf.inference.request import InferenceRequest


def request() -> InferenceRequest:
    return InferenceRequest(
        protocol="chat_completions", path="/v1/chat/completions", model="m", stream=True, include_usage=False,
        max_output_tokens=None, input_bytes=10, bound_bytes=10, attachment_count=0, has_tools=False,
        fields={"messages": ["my secret"]},
    )  # fmt: skip


def test_content_is_never_shown():
    """A request in a log or a traceback does not show what the client wrote."""
    assert "my secret" not in repr(request())


def test_forgetting_drops_the_content_only():
    """After the commit point the content is gone; what settlement needs stays."""
    asked = request()
    asked.forget()
    assert asked.fields == {}
    assert (asked.model, asked.input_bytes, asked.stream) == ("m", 10, True)
