import json

import pytest

from ainf.simulator.server import _WIRES
from ainf.simulator.wire import ErrorBody, RefusedError


@pytest.mark.parametrize("wire", _WIRES.values(), ids=lambda wire: wire.path)
def test_every_format_refuses_and_reports_errors(wire):
    """Each format refuses what is no request, and tells an error as a document and in a stream."""
    error = ErrorBody("it broke", "server_error")

    with pytest.raises(RefusedError) as refused:
        wire.read({})
    assert refused.value.status == 400
    assert "it broke" in json.dumps(json.loads(wire.error_document(error)))
    for frame in (wire.error_frame(error), wire.error_frame(error, as_string=True)):
        assert frame.endswith(b"\n\n")
        assert b"it broke" in frame
    assert wire.error_frame(error, as_event=True).startswith(b"event: ")
