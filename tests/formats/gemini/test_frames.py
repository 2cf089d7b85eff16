import pytest
from google.genai.errors import APIError

from ainf.formats.base import Answer
from ainf.formats.gemini.frames import (
    answer_document,
    cap_fields,
    cap_reason,
    capped_frame,
    error_fields,
    failure_frame,
    names_for,
)
from ainf.inference.errors import CODES
from ainf.inference.outcome import Ending
from tests.formats.gemini.support import CAPPED, check_types, documents, outcome, style

GOOGLE_CODES = {
    "INVALID_ARGUMENT", "UNAUTHENTICATED", "RESOURCE_EXHAUSTED", "PERMISSION_DENIED", "NOT_FOUND", "INTERNAL",
    "UNIMPLEMENTED", "UNAVAILABLE", "DEADLINE_EXCEEDED",
}  # fmt: skip


@pytest.mark.parametrize("code", CODES)
def test_every_code_has_a_status(code):
    """Each of our codes is told in Google's shape, which its SDK reads."""
    error = error_fields(outcome(Ending.UPSTREAM_ERROR, code, "It broke.", billed=2_000_000_000), style(retryable=True))
    raised = APIError(error["code"], {"error": error})
    assert (raised.code, raised.message) == (CODES[code].status, "It broke.")
    assert raised.status in GOOGLE_CODES
    (info,) = error["details"]
    assert (info["reason"], info["domain"]) == (code.upper(), "ainf")
    assert info["metadata"] == {"inference_id": "inf-1", "billed": "2", "retryable": "true"}


def test_failure_is_nothing_but_the_error():
    """Google's SDK raises for a chunk that begins with its error."""
    frame = failure_frame(outcome(Ending.INTERNAL_ERROR), style())
    assert frame.startswith(b'data: {"error":')
    (document,) = documents(frame)
    assert document["error"]["message"] == CODES["internal_error"].meaning


@pytest.mark.parametrize(
    ("mode", "reason"), [("extended", "SPEND_CAP_EXCEEDED"), ("strict", "MAX_TOKENS"), ("loud", "SPEND_CAP_EXCEEDED")]
)
def test_cap(mode, reason):
    """A cap is a finish reason with usage; loud clients find the error where their SDK looks for it."""
    assert cap_reason(style(mode)) == reason
    frame = capped_frame(names_for(Answer(), style()), CAPPED, style(mode))
    (document,) = documents(frame)
    assert frame.startswith(b'data: {"error":') == (mode == "loud")
    assert (document.get("error") is not None) == bool(cap_fields(CAPPED, style(mode))) == (mode == "loud")
    told = check_types(document)
    assert told.candidates[0].finish_reason == reason
    assert (told.usage_metadata.prompt_token_count, told.model_version, told.response_id) == (12, "asked-for", "inf-1")


def test_answer_document():
    """A document has one candidate, and the reason stands in it."""
    document = answer_document([{"text": "a"}], {"responseId": "r"}, finishReason="STOP", usageMetadata={})
    assert document == {
        "candidates": [{"content": {"parts": [{"text": "a"}], "role": "model"}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {},
        "responseId": "r",
    }
