"""One request as it is asked, before it is planned for a model: its body without our own fields, and its headers."""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import attrs
import msgspec

from ainf.formats.base import Listener
from ainf.inference.errors import DownstreamError
from ainf.inference.request import InferenceRequest, Operation
from ainf.protocols.base import ClientProtocol
from ainf.routing.hint import NO_HINT, Hint
from ainf.store.base import Claim, KeyRecord, StoredResponse

_LABELS = 10
_LABEL_BYTES = 64
_IDEMPOTENCY_KEY_BYTES = 255
_PRINTABLE = re.compile(rb"[ -~]*")
_NOT_IN_FINGERPRINT = ("stream", "stream_options")


@attrs.frozen
class RequestHeaders:
    """What a request's own headers ask."""

    idempotency_key: str | None
    deadline_s: float | None
    """Its deadline, from its arrival."""
    sdk_retry_count: int | None
    labels: Mapping[str, str]

    @classmethod
    def read(cls, headers: Mapping[bytes, bytes]) -> "RequestHeaders":
        """Read them.

        Raises:
            DownstreamError: ``invalid_value``; ``param`` names the header.
        """
        return cls(_idempotency_key(headers), _deadline_s(headers), _retry_count(headers), _labels(headers))


@attrs.frozen
class Asked:
    """A request that is to be planned."""

    key: KeyRecord
    request: InferenceRequest
    """In the client's own words, without ``routing_hint``."""
    protocol: ClientProtocol
    listener: Listener
    fingerprint: bytes
    headers: RequestHeaders
    arrived_at: float
    """Trio's time of its head."""
    stored: StoredResponse | None = None
    """The response that it goes on from."""
    hint: Hint = NO_HINT
    inference_shape: bool = False
    """Whether a whole answer is to have the fields of ours (POST /v1/inference)."""

    @property
    def claim(self) -> Claim | None:
        """The use of an idempotency key; to count tokens is free, and claims none."""
        name = self.headers.idempotency_key
        is_count = self.request.operation is Operation.COUNT
        return None if name is None or is_count else Claim(name, self.fingerprint)

    def deadline_at(self, longest_s: float) -> float:
        """Return when it must have ended, by trio's clock."""
        asked_s = self.headers.deadline_s
        return self.arrived_at + (longest_s if asked_s is None else min(longest_s, asked_s))


def fingerprint(account_id: str, request: InferenceRequest) -> bytes:
    """Return the digest by which the same body of the same account is known again, streamed or not.

    Keyed by the account, so that equal bodies of different accounts cannot be told to be equal; and by what is to be
    done, for who has tokens counted before or after an answer does not ask the same again. What a header opts into says
    as much as a field of the body.
    """
    body: dict[str, Any] = {name: value for name, value in request.fields.items() if name not in _NOT_IN_FINGERPRINT}
    asked = msgspec.json.encode(body, order="deterministic")
    return hashlib.blake2b(
        asked + b"".join(b"\n" + beta.encode() for beta in sorted(request.betas)) if request.betas else asked,
        digest_size=16,
        key=account_id.encode()[:64],
        person=request.operation.encode(),
    ).digest()


def _deadline_s(headers: Mapping[bytes, bytes]) -> float | None:
    text = headers.get(b"x-ainf-deadline-ms")
    if text is None:
        return None
    if not (text.isdigit() and 0 < len(text) <= 9 and int(text)):
        raise DownstreamError(
            "invalid_value",
            "`x-ainf-deadline-ms` must be a whole number of milliseconds over 0.",
            param="x-ainf-deadline-ms",
        )
    return int(text) / 1000


def _idempotency_key(headers: Mapping[bytes, bytes]) -> str | None:
    text = headers.get(b"idempotency-key")
    if text is None:
        return None
    if not (0 < len(text) <= _IDEMPOTENCY_KEY_BYTES and text.isascii() and text.decode("ascii").isprintable()):
        raise DownstreamError(
            "invalid_value",
            f"`Idempotency-Key` must be 1 to {_IDEMPOTENCY_KEY_BYTES} printable ASCII characters.",
            param="idempotency-key",
        )
    return text.decode("ascii")


def _retry_count(headers: Mapping[bytes, bytes]) -> int | None:
    text = headers.get(b"x-stainless-retry-count", b"")
    return int(text) if text.isdigit() and len(text) <= 4 else None


def _labels(headers: Mapping[bytes, bytes]) -> dict[str, str]:
    """Read ``x-ainf-labels: run=17, user=ann``."""
    text = headers.get(b"x-ainf-labels", b"").strip()
    if not text:
        return {}
    labels = {}
    for part in text.split(b","):
        name, found, value = (piece.strip() for piece in part.partition(b"="))
        if not (found and name and _PRINTABLE.fullmatch(name + value) and max(len(name), len(value)) <= _LABEL_BYTES):
            raise _bad_labels()
        labels[name.decode()] = value.decode()
    if len(labels) > _LABELS:
        raise _bad_labels()
    return labels


def _bad_labels() -> DownstreamError:
    return DownstreamError(
        "invalid_value",
        f"`x-ainf-labels` must be at most {_LABELS} pairs `name=value`, comma-separated, each part at most "
        f"{_LABEL_BYTES} characters long.",
        param="x-ainf-labels",
    )
