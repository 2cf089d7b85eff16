"""A closing that the database did not take: the record of it, its line in a file, and what it comes to.

A line is a checksum, a space and canonical JSON; an empty one goes before it, so that a line end that is lost costs one
record. What is not what its checksum says was torn by a crash or has decayed, and is no record.
"""

import hashlib
from collections.abc import Mapping
from typing import Final

import attrs
import msgspec

from ainf import audit
from ainf.inference.outcome import Evidence
from ainf.inference.usage import Usage
from ainf.ledger import Division, divide
from ainf.store import burn
from ainf.store.base import Closing, Settlement

NOTE: Final = "spooled_at"
"""The note of a settlement that waited in a spool: since when, in microseconds since 1970 UTC."""


@attrs.frozen(kw_only=True)
class SpooledClosing:
    """A closing, and what a receipt tells of its exchange besides: the database may not even be readable."""

    closing: Closing
    held_nusd: int
    """What was held for it, as far as its own process knows."""
    opened_at: int
    key_id: str
    account_id: str
    account_name: str
    protocol: str
    path: str
    stream: bool
    requested_model: str
    router: str
    """The routing target that its model was chosen from, or "direct"."""
    model: str
    """That answered or was tried last, like the next two."""
    provider: str
    price_version: str
    clamp_tokens: int | None
    labels: Mapping[str, str]

    @property
    def told(self) -> Closing:
        """The closing as it is settled: with a note that says that it waited."""
        closing = self.closing
        return attrs.evolve(closing, notes={**closing.notes, NOTE: closing.at})

    @property
    def blind(self) -> Closing:
        """The same end, where the ledger cannot take what it came to (a defect): the whole hold, evidence ``none``."""
        return attrs.evolve(
            self.told,
            usage=Usage(),
            evidence=Evidence.NONE,
            cost_nusd=None,
            attempts=(),
            charges=(),
            served=None,
            answer=None,
        )

    def division(self, held_nusd: int | None = None) -> Division:
        """Return how what was held is divided; ``held_nusd`` where that is known better.

        Of several attempts each is divided by itself when it is settled: then settled and overrun may be parted
        otherwise; their sum is the same.
        """
        return divide(self.held_nusd if held_nusd is None else held_nusd, self.closing.cost_nusd)

    def settlement(self) -> Settlement:
        """Return what it comes to; it is in no audit chain yet."""
        division = self.division()
        return Settlement(
            self.closing.inference_id,
            self.closing.ending,
            self.held_nusd,
            division.settled_nusd,
            division.released_nusd,
            division.overrun_nusd,
            hash=None,
            prev_hash=None,
            is_empty=burn.is_empty(self.closing, division),
        )


_DECODER: Final = msgspec.json.Decoder(SpooledClosing)


def line_of(record: SpooledClosing) -> bytes:
    """Return the line of a record, with its end and that of the empty one before it.

    Raises:
        TypeError, OverflowError: it holds what JSON cannot say: a defect.
    """
    body = audit.canonical(record).encode()
    return b"\n%s %s\n" % (_checksum(body), body)


def record_of(line: bytes) -> SpooledClosing | None:
    """Return the record of a line; None where it is none, or none that this version understands."""
    checksum, _, body = line.strip(b"\n").partition(b" ")
    if checksum != _checksum(body):
        return None
    try:
        return _DECODER.decode(body)
    except (ValueError, RecursionError):
        return None


def _checksum(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode()
