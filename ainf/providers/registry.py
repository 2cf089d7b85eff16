"""The vendor formats that a provider may be configured with, by name."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ainf.providers.base import Provider
from ainf.providers.openai import OpenAI

_OPENAI: Final = OpenAI()

PROVIDERS: Final[Mapping[str, Provider]] = MappingProxyType({_OPENAI.name: _OPENAI})
