"""The stream of an endpoint that has none, for behaviours that stream although JSON was asked for."""

import attrs

from ainf.simulator.answer import Beat
from ainf.simulator.wire import ErrorBody, Wire


@attrs.frozen
class SilentVoice:
    """Tells no answer; an error in the stream is the error's body as a frame."""

    wire: Wire

    def frame(self, beat: Beat) -> bytes:
        """Return nothing; see ``Voice.frame``."""
        del beat
        return b""

    def error_frame(self, error: ErrorBody, *, as_string: bool = False, as_event: bool = False) -> bytes:
        """Return an error in the stream; see ``Voice.error_frame``."""
        prefix = b"event: error\n" if as_event else b""
        body = b'{"error": "%b"}' % error.message.encode() if as_string else self.wire.error_document(error)
        return prefix + b"data: " + body + b"\n\n"
