from openai.types.chat import ChatCompletionChunk

from ainf.formats.base import Answer
from ainf.formats.chat.frames import choice_of, chunk_frame, head_of, usage_frame
from ainf.inference.usage import Usage
from tests.formats.chat.support import DONE, documents, style


def test_frames_validate():
    """The frames that we make are chunks as the SDK types them."""
    head = head_of(Answer(), style())
    frames = usage_frame(head, Usage(5, 1, 3, 2)) + chunk_frame(head, choice_of({"content": "a"}, "length"))
    usage, content = (ChatCompletionChunk.model_validate(frame, strict=True) for frame in documents(frames + DONE))
    assert usage.usage.total_tokens == 8
    assert usage.usage.completion_tokens_details.reasoning_tokens == 2
    assert content.choices[0].delta.content == "a"


def test_zero_is_a_time():
    """Only a missing time is replaced by ours."""
    assert head_of(Answer(created=0), style())["created"] == 0
