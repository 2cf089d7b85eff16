"""A request as it arrives, and what a protocol makes of it."""

import json

import pytest

from ainf.formats.json import load_json
from ainf.inference.errors import DownstreamError

WRONG = (7, -1, 1.5, True, "x", [], {}, [7], [None], ["x"], [[]], [{}], {"type": 7}, {"type": []}, [{"type": {}}])
"""Values of every type, as hostile clients put them into any field."""


class Asker:
    """Asks one protocol, with a request that is sound but for what a test changes; ``...`` leaves a field out."""

    def __init__(self, protocol, path, base):
        self.protocol, self.path, self.base = protocol, path, base

    def body(self, **fields):
        document = {name: value for name, value in (self.base | fields).items() if value is not ...}
        return json.dumps(document).encode()

    def parse(self, headers=None, **fields):
        body = self.body(**fields)
        return self.protocol.parse(load_json(body), path=self.path, body_bytes=len(body), headers=headers or {})

    def refusal(self, headers=None, **fields):
        with pytest.raises(DownstreamError) as caught:
            self.parse(headers, **fields)
        assert caught.value.status == 400 or caught.value.code == "model_not_found"
        assert len(caught.value.message) <= 200
        return caught.value.code, caught.value.param

    def survives(self, **fields):
        """Ask with whatever it is: an answer or a refusal by name, and nothing else."""
        refusal = None
        try:
            request = self.parse(**fields)
        except DownstreamError as error:
            refusal = error
        if refusal is not None:
            assert refusal.param is not None
            assert refusal.param.startswith(tuple(fields))
            return
        assert request.bound_bytes >= request.input_bytes >= 0
        self.protocol.echo(request)
