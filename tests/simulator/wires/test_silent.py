import json

from ainf.simulator.answer import Beat, BeatKind
from ainf.simulator.wire import ErrorBody
from ainf.simulator.wires.embeddings import EmbeddingsWire
from ainf.simulator.wires.silent import SilentVoice


def test_it_tells_errors_only():
    """No beat has a frame; an error is the body of the format as a frame, a string, or an event."""
    voice, error = SilentVoice(EmbeddingsWire()), ErrorBody(503, "busy", "server_error")

    assert voice.frame(Beat(BeatKind.TEXT, "text", 1)) == b""
    assert json.loads(voice.error_frame(error)[6:])["error"]["message"] == "busy"
    assert json.loads(voice.error_frame(error, as_string=True)[6:]) == {"error": "busy"}
    assert voice.error_frame(error, as_event=True).startswith(b"event: error\ndata: {")
