"""What several suites over a whole gateway share."""

import json

import pytest

from ainf.simulator import answer
from ainf.simulator.passages import Piece


@pytest.fixture
def says_json(monkeypatch):
    """What the simulator says is one JSON document, valid only as a whole."""

    def pieces(behaviour, seed, number, tokens):
        del behaviour, seed, number
        said = "x" * (answer.TOKEN_BYTES * tokens - len(json.dumps({"city": ""})))
        text = json.dumps({"city": said})
        return [Piece(text[at : at + answer.TOKEN_BYTES]) for at in range(0, len(text), answer.TOKEN_BYTES)]

    monkeypatch.setattr(answer, "_pieces", pieces)
