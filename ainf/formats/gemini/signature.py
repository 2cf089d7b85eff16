"""Signatures of thoughts: opaque data on the Gemini wire.

Source: the Gemini API's guide, "thought signatures". A part may carry ``thoughtSignature`` (base64). It belongs to that
very part and has to come back on it: Gemini 3 refuses a turn whose calls have lost theirs. Events and conversations
keep it as reasoning right before the part, and since some wires cannot keep that order (chat tells all reasoning
before everything else), its source says what kind of part it belongs to.
"""

import base64
from typing import Final

from ainf.inference.conversation import Opaque

THOUGHT: Final = "gemini"
"""Of a thought; without any text of it: of the part behind it, whatever that is."""
TEXT: Final = "gemini.text"
CALL: Final = "gemini.call"
SOURCES: Final = frozenset({THOUGHT, TEXT, CALL})

PLACEHOLDER: Final = "skip_thought_signature_validator"
"""What stands for the signature of a call that Gemini did not make.

Source: the guide's questions and answers (a history that comes from another model) and Vertex AI's page of the same
name; the one of the two documented words that both take. It is base64 in the alphabet for URLs.
"""


def read_signature(signature: str, source: str) -> Opaque:
    """Return the opaque data of a part of a request: Gemini's own, or what was sealed into it."""
    try:
        told = base64.b64decode(signature, validate=True).decode()
    except ValueError:
        told = ""
    return Opaque.unsealed(told) or Opaque(source, signature)


def signature_of(opaque: Opaque) -> str:
    """Return opaque data as the wire's signature: Gemini's own as it is, any other sealed."""
    return opaque.data if opaque.source in SOURCES else base64.b64encode(opaque.sealed().encode()).decode()
