import itertools

import pytest

from ainf.simulator.answer import Ask, BeatKind, compose
from ainf.simulator.behaviour import parse_model
from ainf.simulator.passages import Piece, TextChoice, TextKind, passage_texts, passages, spoken, token_count, up_to
from ainf.simulator.reading import text_bytes, tokens


def answer(model, *, number=1, max_tokens=None):
    return compose(Ask(model, True, True, max_tokens, input_tokens=10), parse_model(model), seed=0, number=number)


def text_beats(made):
    return [beat for beat in made.beats if beat.kind is BeatKind.TEXT]


@pytest.mark.parametrize("kind", TextKind)
def test_passages_are_texts_of_whole_tokens(kind):
    """Each kind has an even number of passages, each long enough to be a sample, no two alike."""
    texts = passage_texts(kind)

    assert len(texts) >= 12
    assert len(texts) % 2 == 0
    assert len(set(texts)) == len(texts)
    assert all(token_count(text) >= 50 for text in texts)
    assert all(piece.text and piece.tokens >= 1 for passage in passages(kind) for piece in passage)


def test_bytes_of_a_token_differ_by_kind():
    """English is the thinnest, JSON the densest: one ratio for all is wrong for each."""
    ratios = {
        kind: sum(len(text.encode()) for text in passage_texts(kind)) / sum(map(token_count, passage_texts(kind)))
        for kind in TextKind
    }

    assert ratios["english"] > 4.5
    assert 3.5 < ratios["chinese"] < 4
    assert 3.5 < ratios["code"] < 4
    assert ratios["json"] < 3


def test_characters_of_several_tokens_are_one_piece():
    """A piece is never part of a character, and knows how many tokens it is."""
    assert Piece("绳", 2) in itertools.chain(*passages(TextKind.CHINESE))


def test_only_a_whole_passage_has_a_known_count():
    """Any other text has none."""
    text = passage_texts(TextKind.CODE)[0]

    assert token_count(text) == sum(piece.tokens for piece in passages(TextKind.CODE)[0])
    assert token_count(text[:-1]) is None


def test_a_passage_is_counted_truly_in_a_request():
    """Input tokens are those of the tokenizer; of other text, four bytes each as ever."""
    text = passage_texts(TextKind.JSON)[3]

    assert tokens(text_bytes(text)) == token_count(text)
    assert (
        tokens(text_bytes([{"type": "text", "text": text}, {"type": "text", "text": "four"}])) == token_count(text) + 1
    )
    assert tokens(text_bytes("four more")) == 3


def test_what_is_said_is_pure_and_goes_round():
    """Seed and number decide where it begins; a passage that is named begins at its beginning; behind the last comes
    the first."""
    choice = TextChoice((TextKind.ENGLISH,))

    def first(**which):
        return tuple(itertools.islice(spoken(choice, **which), 50))

    assert first(seed=1, number=2) == first(seed=1, number=2)
    assert len({first(seed=1, number=number) for number in range(20)}) > 15
    last = len(passages(TextKind.ENGLISH)) - 1
    named = spoken(TextChoice((TextKind.ENGLISH,), passage=last), seed=1, number=2)
    two = (*passages(TextKind.ENGLISH)[last], *passages(TextKind.ENGLISH)[0])
    assert tuple(itertools.islice(named, len(two))) == two


def test_mixed_text_is_of_every_kind():
    """Each answer is of one kind, some of each."""
    texts = {kind: "".join(passage_texts(kind)) * 2 for kind in TextKind}
    found = []
    for number in range(60):
        said = "".join(beat.text for beat in text_beats(answer("sim-text-mixed-tokens-30", number=number)))
        found += [kind for kind, text in texts.items() if said in text]

    assert len(found) == 60
    assert all(found.count(kind) >= 5 for kind in TextKind)


def test_evens_and_odds_share_no_text():
    """What is learnt of one half is tried on the other."""
    halves = [
        {piece for number in range(200) for piece in itertools.islice(_passages_of(offset, number), 1)}
        for offset in (0, 1)
    ]

    assert len(halves[0]) == len(halves[1]) == len(passages(TextKind.CODE)) // 2
    assert not halves[0] & halves[1]


def _passages_of(offset, number):
    pieces = spoken(TextChoice((TextKind.CODE,), passage=number, step=2, offset=offset), seed=0, number=number)
    yield "".join(piece.text for piece in itertools.islice(pieces, 60))


def test_pieces_up_to_a_number_of_tokens():
    """A piece that would be too many is left out, with all after it."""
    pieces = [Piece("a"), Piece("绳", 2), Piece("b")]

    assert [list(up_to(iter(pieces), tokens)) for tokens in range(5)] == [
        [], pieces[:1], pieces[:1], pieces[:2], pieces,
    ]  # fmt: skip


@pytest.mark.parametrize("kind", TextKind)
def test_answers_say_passages_and_count_them_truly(kind):
    """The deltas join to the passage, and the usage is its true number of tokens."""
    text = passage_texts(kind)[4]
    made = answer(f"sim-text-{kind}-passage-4-tokens-{token_count(text)}")

    assert "".join(beat.text for beat in text_beats(made)) == text
    assert made.counts.output == token_count(text)
    assert sum(beat.text_bytes for beat in made.beats) == len(text.encode())


def test_limits_and_frames_keep_pieces_whole():
    """However many tokens are in a frame, and wherever the limit cuts, no more than the limit is said."""
    for limit in range(1, 40):
        made = answer("sim-text-chinese-passage-4-tokens-90-per-frame-3", max_tokens=limit)

        assert limit - 1 <= made.counts.output <= limit
        assert made.finish_reason == "length"
        assert "".join(beat.text for beat in text_beats(made)) in passage_texts(TextKind.CHINESE)[4]


def test_reasoning_and_endless_answers_are_of_the_same_text():
    """Reasoning is real text too; an endless answer goes on past every passage."""
    made = answer("sim-text-english-passage-0-reasoning-10-tokens-10")
    reasoning = "".join(beat.text for beat in made.beats if beat.kind is BeatKind.REASONING)

    assert passage_texts(TextKind.ENGLISH)[0].startswith(reasoning)
    endless = answer("sim-text-code-endless")
    assert sum(beat.tokens for beat in itertools.islice(endless.beats, 5000)) >= 4990
