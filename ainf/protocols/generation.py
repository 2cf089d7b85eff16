"""What protocols share unless they say otherwise."""

from collections.abc import Mapping
from typing import Any

from ainf.formats.base import Listener, Pipe, PipeLimits
from ainf.formats.format import open_pipe
from ainf.formats.registry import FORMATS
from ainf.inference.request import InferenceRequest, Operation


class GenerationDefaults:
    """A protocol whose answers come from any of the formats, repeat nothing and have none of our fields."""

    format: str
    operation = Operation.GENERATE

    def echo(self, request: InferenceRequest) -> Mapping[str, Any]:
        """Return nothing. See ``ClientProtocol.echo``."""
        return {}

    def open_pipe(self, listener: Listener, provider_format: str, limits: PipeLimits) -> Pipe:
        """Return the pipe between two formats. See ``ClientProtocol.open_pipe``."""
        return open_pipe(FORMATS[self.format], FORMATS[provider_format], listener, limits)

    def finish_json(self, body: bytes, extra: Mapping[str, Any]) -> bytes:
        """Never called: only ``/v1/inference`` adds fields. See ``ClientProtocol.finish_json``."""
        raise AssertionError("no path of this protocol has fields of ours")
