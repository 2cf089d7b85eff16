"""The wire formats, by name."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ainf.formats.chat.format import CHAT
from ainf.formats.format import Format
from ainf.formats.gemini.format import GEMINI
from ainf.formats.messages.format import MESSAGES
from ainf.formats.responses.format import RESPONSES

FORMATS: Final[Mapping[str, Format]] = MappingProxyType({
    each.name: each for each in (CHAT, MESSAGES, RESPONSES, GEMINI)
})
