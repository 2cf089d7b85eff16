import pytest

from ainf.formats.base import EndingStyle
from ainf.formats.endings import EndingError, ending_error, is_told
from ainf.inference.errors import CODES
from ainf.inference.outcome import Ending, Evidence, Outcome, Verdict
from ainf.inference.usage import Usage

STYLE = EndingStyle("extended", inference_id="inf-1", created=5, model="m", retryable=True)


def ended(ending, code=None, message=None, param=None):
    verdict = Verdict(ending, code, message, param=param)
    return ending_error(Outcome(verdict, None, Usage(), Evidence.METERED, 7), STYLE)


def test_what_is_told():
    """An ending's error says what its verdict does, with the row of its code, and what it cost."""
    row = CODES["upstream_overloaded"]
    assert ended(Ending.UPSTREAM_ERROR, "upstream_overloaded", "It is busy.", "n") == EndingError(
        code="upstream_overloaded",
        type=row.type,
        status=row.status,
        message="It is busy.",
        param="n",
        inference_id="inf-1",
        billed_nusd=7,
        retryable=True,
    )


@pytest.mark.parametrize("code", CODES)
def test_every_code_has_a_meaning(code):
    """Without words of its own an ending is told by what its code means."""
    assert ended(Ending.UPSTREAM_ERROR, code).message == CODES[code].meaning


def test_without_a_code():
    """An ending that names no code is a defect of ours."""
    assert ended(Ending.INTERNAL_ERROR).code == "internal_error"


@pytest.mark.parametrize("code", [None, "insufficient_quota"])
def test_a_cap(code):
    """A cap has one code, whatever its verdict was told with, and says that the answer was cut."""
    error = ended(Ending.SPEND_CAP_EXCEEDED, code)
    assert (error.code, error.message.split(":")[0]) == ("spend_cap_exceeded", "The answer was cut")


def test_who_is_told():
    """Only those who are there are told of an ending."""
    assert {ending for ending in Ending if not is_told(ending)} == {Ending.CLIENT_DISCONNECTED, Ending.ABANDONED}
