"""Databases as older versions left them: recorded, not made up."""

from pathlib import Path

import apsw

FIXTURES = Path(__file__).parents[1] / "fixtures" / "store"


def write_schema_1(folder: Path) -> str:
    """Write the database of schema 1 into a folder, and return its path.

    It has settlements of every evidence, an adjustment, and the exchange "inf000009" left running with progress.
    """
    path = str(folder / "ainf.db")
    connection = apsw.Connection(path)
    connection.pragma("journal_mode", "WAL")
    connection.execute((FIXTURES / "schema1.sql").read_text())
    connection.close()
    return path
