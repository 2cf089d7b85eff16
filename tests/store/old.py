"""Databases as older versions left them: recorded, not made up."""

from pathlib import Path

import apsw

FIXTURES = Path(__file__).parents[1] / "fixtures" / "store"


def write_schema_1(folder: Path) -> str:
    """Write the database of schema 1 into a folder, and return its path.

    It has settlements of every evidence, an adjustment, and the exchange "inf000009" left running with progress.
    """
    return _write(folder, 1)


def write_schema_2(folder: Path) -> str:
    """Write the database of schema 2 into a folder, and return its path.

    The cap of account "root" was only changed; that of the key was removed after entry 4 and set again after entry 8,
    with two exchanges that ran over one of these moments each; that of account "team" was removed, set again (after
    entry 8 too) and removed for good.
    """
    return _write(folder, 2)


def _write(folder: Path, number: int) -> str:
    path = str(folder / "ainf.db")
    connection = apsw.Connection(path)
    connection.pragma("journal_mode", "WAL")
    connection.execute((FIXTURES / f"schema{number}.sql").read_text())
    connection.close()
    return path
