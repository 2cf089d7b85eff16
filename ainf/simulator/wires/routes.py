"""Which wire a path belongs to. A new format is a line here."""

import re
from typing import Final

from ainf.simulator.wire import Wire
from ainf.simulator.wires.chat import ChatWire
from ainf.simulator.wires.embeddings import EmbeddingsWire
from ainf.simulator.wires.gemini import GeminiCountWire, GeminiEmbedWire, GeminiWire
from ainf.simulator.wires.messages import MessagesCountWire, MessagesWire
from ainf.simulator.wires.responses import ResponsesWire

_MODEL: Final = "{model}"


class Routes:
    """All wires of one simulator, by path; what they remember (the responses made) is theirs alone."""

    def __init__(self) -> None:
        chat, messages, gemini = ChatWire(), MessagesWire(), GeminiWire()
        self.wires: tuple[Wire, ...] = (
            chat,
            messages,
            MessagesCountWire(),
            ResponsesWire(),
            gemini,
            GeminiCountWire(),
            GeminiEmbedWire(),
            EmbeddingsWire(),
        )
        self._beside: tuple[tuple[str, Wire], ...] = (("/v1/messages", messages), ("/v1beta/", gemini), ("", chat))
        self._exact = {path: wire for wire in self.wires for path in wire.paths if _MODEL not in path}
        self._patterns = [(_pattern(path), wire) for wire in self.wires for path in wire.paths if _MODEL in path]

    def find(self, path: str) -> Wire | None:
        """Return the wire whose requests are posted to a path."""
        wire = self._exact.get(path)
        if wire is None:
            wire = next((wire for pattern, wire in self._patterns if pattern.fullmatch(path)), None)
        return wire

    def nearest(self, path: str) -> Wire:
        """Return the wire in whose words something is said about a path that none serves."""
        return next(wire for beginning, wire in self._beside if path.startswith(beginning))


def _pattern(path: str) -> re.Pattern[str]:
    before, _, after = path.partition(_MODEL)
    return re.compile(f"{re.escape(before)}[^/:]+{re.escape(after)}")
