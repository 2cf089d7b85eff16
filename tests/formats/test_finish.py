"""What words for an end mean, whichever format they are of."""

import pytest

from ainf.formats.chat.observe import FINISH_REASONS as CHAT
from ainf.formats.finish import meaning_of
from ainf.formats.gemini.observe import FINISH_REASONS as GEMINI
from ainf.formats.messages.observe import FINISH_REASONS as MESSAGES
from ainf.formats.responses.observe import INCOMPLETE_REASONS
from ainf.inference.events import FinishReason


@pytest.mark.parametrize("table", [CHAT, MESSAGES, GEMINI], ids=["chat", "messages", "gemini"])
def test_every_word_means_what_it_means_in_its_format(table):
    """Formats that share a word would have to agree on it."""
    assert {word: meaning_of(word) for word in table} == table


@pytest.mark.parametrize(
    ("word", "meaning"),
    [
        ("completed", FinishReason.STOP),
        ("incomplete:max_output_tokens", FinishReason.LENGTH),
        ("incomplete:content_filter", FinishReason.CONTENT_FILTER),
        ("incomplete", FinishReason.OTHER),
        ("incomplete:bored", FinishReason.OTHER),
        ("promptFeedback:SAFETY", FinishReason.CONTENT_FILTER),
        ("pause_turn", FinishReason.OTHER),
        ("", FinishReason.OTHER),
    ],
)
def test_other_words(word, meaning):
    """Those that are made of two count too, and a word that nobody knows is a word of its own."""
    assert meaning_of(word) is meaning


def test_words_of_responses_are_all_known():
    """A reason that a response may be incomplete for means the same behind its prefix."""
    assert {word: meaning_of(f"incomplete:{word}") for word in INCOMPLETE_REASONS} == INCOMPLETE_REASONS
