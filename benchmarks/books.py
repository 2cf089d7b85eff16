"""What the ledger says of a run: speed counts only where every request was settled and audited, once."""

from collections import Counter
from pathlib import Path
from typing import Final

import apsw
import attrs

_OPEN: Final = "SELECT count(*) FROM holds"
_ADMITTED: Final = "SELECT count(*) FROM inferences"
_SETTLED: Final = "SELECT ending, count(*) FROM settlements GROUP BY ending"
_AUDITED: Final = "SELECT count(*) FROM audit_events WHERE kind = 'inference.closed'"


class LedgerError(Exception):
    """The ledger does not agree with what the clients saw."""


@attrs.frozen
class Books:
    """The counts of one database at one moment."""

    admitted: int
    open: int
    settled: Counter[str]
    audited: int

    def check_since(self, before: "Books", *, requests: int, ending: str) -> None:
        """Check that since ``before`` there were exactly ``requests``, each settled as ``ending``, and none is open.

        Raises:
            LedgerError: it is not so; the message says both.
        """
        expected = Books(
            before.admitted + requests, 0, before.settled + Counter({ending: requests}), before.audited + requests
        )
        if self != expected:
            raise LedgerError(f"the ledger has {self}, and should have {expected}")


def read_books(database: Path) -> Books:
    """Return the counts of a gateway's database, which may be in use, as of one moment."""
    connection = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        connection.execute("BEGIN")
        return Books(
            admitted=connection.execute(_ADMITTED).get,
            open=connection.execute(_OPEN).get,
            settled=Counter(dict(connection.execute(_SETTLED))),
            audited=connection.execute(_AUDITED).get,
        )
    finally:
        connection.close()
