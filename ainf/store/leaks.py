"""I17: no provider's key stands anywhere in the database, and nothing that is told of it shows one."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import attrs
import msgspec

from ainf.store.invariants import Breach, Check, Invariant, Reading
from ainf.store.transaction import Parameters, Transaction

NO_SECRET_STORED: Final = Invariant("I17", "no provider's key stands in any text or blob of any row")
LEAST_SECRET: Final = 8
"""Characters; what is shorter is no key, and would be found everywhere."""
_MASK: Final = "***"
_KEEPS_TEXT: Final = frozenset({"TEXT", "BLOB"})


@attrs.frozen
class _Table:
    name: str
    key: tuple[str, ...]
    """The columns that name a row."""
    texts: tuple[str, ...]
    """The columns that may hold text."""

    def holding(self, secrets: Sequence[str], most: int) -> tuple[str, Parameters]:
        """Return the query for the rows that hold a secret: what names each, and the first column that holds one."""
        cases = " ".join(
            "WHEN "
            + " OR ".join([f"instr(CAST({_quoted(column)} AS BLOB), CAST(? AS BLOB)) > 0"] * len(secrets))
            + f" THEN '{column}'"
            for column in self.texts
        )
        key = ", ".join(map(_quoted, self.key))
        sql = f"SELECT {key}, CASE {cases} END AS holder FROM {_quoted(self.name)}"  # noqa: S608 - the schema's names
        limited = f"SELECT * FROM ({sql}) AS looked WHERE holder IS NOT NULL LIMIT ?"  # noqa: S608 - as above
        return limited, (*(secret for _ in self.texts for secret in secrets), most)


def without_secrets(row: Mapping[str, Any], secrets: Sequence[str]) -> dict[str, Any]:
    """Return a row as it can be told: every secret in its texts is masked."""
    return {name: _masked(value, secrets) if isinstance(value, str) else value for name, value in row.items()}


def _masked(text: str, secrets: Sequence[str]) -> str:
    for secret in _as_stored(secrets):
        text = text.replace(secret, _MASK)
    return text


def _as_stored(secrets: Sequence[str]) -> tuple[str, ...]:
    """Return the texts to look for: every secret that is long enough, as it is and as JSON writes it."""
    long = [secret for secret in secrets if len(secret) >= LEAST_SECRET]
    return tuple(dict.fromkeys([*long, *(msgspec.json.encode(secret).decode()[1:-1] for secret in long)]))


def _tables(tx: Transaction) -> Iterator[_Table]:
    for (name,) in tx.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"):
        columns = tx.execute("SELECT name, type, pk FROM pragma_table_info(?) ORDER BY pk, cid", (name,))
        key = tuple(column for column, _, position in columns if position)
        texts = tuple(column for column, kind, _ in columns if kind in _KEEPS_TEXT)
        if texts:
            yield _Table(name, key, texts)


def _quoted(name: str) -> str:
    return f'"{name}"'


def _breaches(reading: Reading) -> Iterator[Breach]:
    secrets = _as_stored(reading.secrets)
    if not secrets:
        return
    for table in _tables(reading.tx):
        sql, parameters = table.holding(secrets, reading.most)
        for *key, column in reading.tx.execute(sql, parameters):
            yield (
                NO_SECRET_STORED,
                {"table": table.name, "column": column, **dict(zip(table.key, key, strict=True))},
            )


LEAKS: Final = Check((NO_SECRET_STORED,), _breaches)
