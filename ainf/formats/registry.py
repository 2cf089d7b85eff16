"""The wire formats, by name."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ainf.formats.chat.format import ChatFormat
from ainf.formats.format import Format

FORMATS: Final[Mapping[str, Format]] = MappingProxyType({each.name: each for each in (ChatFormat(),)})
