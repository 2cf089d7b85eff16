"""Requests of every dialect are of the size that is asked for, and ask what they should."""

import json

import pytest

from benchmarks.dialects import CHAT, MESSAGES, RESPONSES

DIALECTS = [CHAT, MESSAGES, RESPONSES]


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.path)
@pytest.mark.parametrize("stream", [True, False])
def test_a_body_has_its_size_and_a_prompt(dialect, stream):
    """The prompt fills a body up; where there is no room for one, a few bytes of it stand all the same."""
    body = dialect.body("bench", stream=stream, size=1000)
    assert len(body) == 1000
    fields = json.loads(body)
    prompt = fields["input"] if "input" in fields else fields["messages"][0]["content"]
    assert len(prompt) > 800
    assert (fields["model"], fields.get("stream", False)) == ("bench", stream)
    assert b"xxxxxxxx" in dialect.body("bench", stream=stream, size=1)
