import pytest

from ainf.formats.base import Answer
from ainf.formats.chat.observe import error_in, note_end, note_head, note_view_usage, read_frame
from ainf.formats.chat.wire import HeadedView
from ainf.inference.events import FinishReason


def test_first_head_that_says_something_stands():
    """An empty head (Azure's first chunk) is passed over; later heads change nothing."""
    answer = Answer()
    for head in (HeadedView(id="", model="", created=0), HeadedView(id="a", model="m", created=5), HeadedView(id="b")):
        note_head(answer, head)
    assert (answer.response_id, answer.model, answer.created) == ("a", "m", 5)


@pytest.mark.parametrize("wrong", [7, [], None, "a\r\nb", "\0", "\ud800"])
def test_names_are_fit_for_records(wrong):
    """A name that is no printable text is not kept; a long one is cut."""
    answer = Answer()
    note_head(answer, HeadedView(id=wrong, model="x" * 9000, created=True))
    assert (answer.response_id, len(answer.model), answer.created) == (None, 256, None)


@pytest.mark.parametrize(
    ("raw", "kept", "finish"),
    [
        ("stop", "stop", FinishReason.STOP),
        ("function_call", "function_call", FinishReason.TOOL_CALLS),
        ("STOP", "STOP", FinishReason.OTHER),
        ("a\ud800", "a\\ud800", FinishReason.OTHER),
        ("x" * 999, "x" * 64, FinishReason.OTHER),
    ],
)
def test_finish(raw, kept, finish):
    """The raw reason is kept as bounded text; an unknown one is never taken for a stop."""
    answer = Answer()
    note_end(answer, raw)
    assert (answer.raw_finish_reason, answer.finish) == (kept, finish)


def test_usage_of_a_view():
    """Whether usage can be true is told; a view without any changes nothing."""
    answer = Answer()
    assert not note_view_usage(answer, HeadedView())
    assert answer.raw_usage is None
    assert note_view_usage(answer, HeadedView(usage={"prompt_tokens": 1, "completion_tokens": 1}))
    assert not note_view_usage(answer, HeadedView(usage={"prompt_tokens": "1"}))


def test_errors():
    """An error is an error object, a named event, vLLM's document or the finish reason of aggregators."""
    assert error_in(HeadedView()) is None
    assert error_in(HeadedView(error={})) is None
    assert error_in(HeadedView(), is_named=True).code == "upstream_error"
    assert error_in(HeadedView(object="error")).code == "upstream_error"
    assert error_in(HeadedView(object="error", code=503)).code == "upstream_overloaded"
    assert error_in(HeadedView(message="Prompt is too long"), is_named=True).code == "context_length_exceeded"
    assert error_in(HeadedView(error={"code": 429})).code == "upstream_overloaded"
    assert error_in(read_frame(b'{"choices":[{"finish_reason":"error"}]}').view).code == "upstream_error"
