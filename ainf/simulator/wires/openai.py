"""What the endpoints of OpenAI's API have in common: the bearer key, and how errors are told.

Wire format: https://platform.openai.com/docs/guides/error-codes
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from ainf.simulator.answer import Answer
from ainf.simulator.reading import bearer_token
from ainf.simulator.wire import ErrorBody, RefusedError

encode: Final = msgspec.json.encode


class OpenAIWire:
    """The common part of a wire of OpenAI's."""

    request_id_header = "x-request-id"
    overloaded_status = 503
    done_frame = b""
    broken_frame = b'data: {"choices": [{"delta": {"content": \n\n'
    key_refused = ErrorBody(401, "Incorrect API key provided.", "invalid_request_error", "invalid_api_key")

    def key(self, headers: Mapping[str, str]) -> str | None:
        """Return the bearer token; see ``Wire.key``."""
        return bearer_token(headers)

    def failed_document(self, answer: Answer, error: ErrorBody) -> bytes:
        """Return the error's body; see ``Wire.failed_document``."""
        del answer
        return self.error_document(error)

    def error_document(self, error: ErrorBody) -> bytes:
        """Return an error's body; see ``Wire.error_document``."""
        return encode({"error": error_object(error)})


def error_object(error: ErrorBody) -> dict[str, Any]:
    """Return an error as OpenAI spells it."""
    return {"message": error.message, "type": error.type, "param": error.param, "code": error.code}


def error_frame(error: ErrorBody, *, as_string: bool = False, as_event: bool = False) -> bytes:
    """Return an error in a stream that has no events of its own for it; see ``Voice.error_frame``."""
    prefix = b"event: error\n" if as_event else b""
    return prefix + b"data: " + encode({"error": error.message if as_string else error_object(error)}) + b"\n\n"


def refused(message: str, param: str | None = None, code: str | None = None) -> RefusedError:
    """Return what refuses a request with status 400."""
    return RefusedError(ErrorBody(400, message, "invalid_request_error", code, param))


def wrong_type(name: str, kind: type) -> RefusedError:
    """Return what refuses a field of the wrong type."""
    return refused(f"Invalid type for '{name}': expected {kind.__name__}.", name)


def fields_of(document: object) -> dict[str, Any]:
    """Return a request's JSON as an object.

    Raises:
        RefusedError: it is something else.
    """
    if not isinstance(document, dict):
        raise refused("We could not parse the JSON body of your request.")
    return document


def model_of(fields: Mapping[str, Any]) -> str:
    """Return the model that a request names.

    Raises:
        RefusedError: it names none.
    """
    model = fields.get("model")
    if not isinstance(model, str) or not model:
        raise refused("you must provide a model parameter", "model")
    return model
