"""The wire formats, by name."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ainf.formats.chat.format import ChatFormat
from ainf.formats.format import Format
from ainf.formats.gemini.format import GeminiFormat
from ainf.formats.messages.format import MessagesFormat
from ainf.formats.responses.format import ResponsesFormat

FORMATS: Final[Mapping[str, Format]] = MappingProxyType({
    each.name: each for each in (ChatFormat(), MessagesFormat(), ResponsesFormat(), GeminiFormat())
})
