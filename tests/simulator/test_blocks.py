from ainf.simulator.answer import Ask, Tool, compose
from ainf.simulator.behaviour import parse_model
from ainf.simulator.blocks import BlockVoice

TOOLS = (Tool("look", "where"), Tool("wait", "text"))


class Transcript(BlockVoice):
    """A format whose frames are words."""

    def starts(self, beat):
        return b"start "

    def opens(self, block):
        return b"(%b " % block.kind.name.encode()

    def grows(self, block, beat):
        return b"+ "

    def closes(self, block):
        return b"cut) " if block.cut else b") "

    def finishes(self, beat):
        return b"finish "

    def tells_usage(self, beat):
        return b"usage "

    def ends(self, beat):
        return b"end"

    def error_frame(self, error, *, as_string=False, as_event=False):
        raise NotImplementedError


def _said(model, **asked):
    ask = Ask(model, stream=True, include_usage=False, input_tokens=4, **{"max_tokens": None, **asked})
    answer = compose(ask, parse_model(model), seed=0, number=1)
    voice = Transcript(answer)
    return b"".join(voice.frame(beat) for beat in answer.beats).decode(), voice.blocks


def test_text_is_one_block():
    """All that is said in one kind is in one block, and the finish closes it."""
    assert _said("sim-tokens-3")[0] == "start (TEXT + + + ) finish end"


def test_another_kind_closes_the_block():
    """Reasoning ends where text begins; two calls are two blocks, whole with their last piece."""
    assert _said("sim-reasoning-2-tokens-1")[0] == "start (REASONING + + ) (TEXT + ) finish end"
    said, blocks = _said("sim-parallel-tools-tokens-4", tools=TOOLS)

    assert said == "start (TOOL + + + + ) (TOOL + + + + ) finish end"
    assert [(block.name, block.call, block.index, block.whole_call) for block in blocks] == [
        ("look", 0, 0, True),
        ("wait", 1, 1, True),
    ]


def test_what_is_hidden_is_a_block_before_the_first():
    """Hidden reasoning opens and closes a block once something is shown, or the answer ends."""
    assert _said("sim-hidden-reasoning-2-tokens-1")[0] == "start (OPAQUE ) (TEXT + ) finish end"
    assert _said("sim-hidden-reasoning-2", max_tokens=2)[0] == "start (OPAQUE ) finish end"


def test_the_limit_cuts_the_last_block():
    """The block that the limit ends is cut, and a call in it is not whole."""
    said, blocks = _said("sim-parallel-tools-tokens-4", tools=TOOLS, max_tokens=6)

    assert said == "start (TOOL + + + + ) (TOOL + + cut) finish end"
    assert [block.whole_call for block in blocks] == [True, False]


def test_odd_ends():
    """The finish's text joins the block, text after it is another block; without a finish the end closes it."""
    assert _said("sim-tokens-2-finish-with-content")[0] == "start (TEXT + + ) finish end"
    assert _said("sim-tokens-1-content-after-finish")[0] == "start (TEXT + ) finish (TEXT + ) end"
    assert _said("sim-tokens-1-done-only")[0] == "start (TEXT + ) end"
