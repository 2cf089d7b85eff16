"""What was learnt of models' bytes per token, kept from one life of a process to the next (operations)."""

from collections.abc import Mapping

from ainf.calibration import Calibration, from_json
from ainf.store.transaction import Transaction

_SAVE = """
    INSERT INTO calibrations (model, body, updated_at) VALUES (?, ?, ?)
    ON CONFLICT (model) DO UPDATE SET body = excluded.body, updated_at = excluded.updated_at
"""


def load(tx: Transaction) -> dict[str, Calibration]:
    """Return what is kept, by the configured names; what cannot be read (it is of another version) is left out."""
    return {name: kept for name, body in tx.execute("SELECT model, body FROM calibrations") if (kept := _read(body))}


def add(tx: Transaction, learnt: Mapping[str, Calibration], *, at: int) -> dict[str, Calibration]:
    """Add what was newly learnt to what is kept; return what is kept of these models now.

    Whoever else learns of the same models, on the same store, adds to the same. What is kept of another model under
    the same name (its provider or its name there has changed) is replaced.
    """
    now_kept = {}
    for name, fresh in learnt.items():
        row = tx.one("SELECT body FROM calibrations WHERE model = ?", (name,))
        kept = _read(row[0]) if row is not None else None
        is_same = kept is not None and kept.is_of(fresh.provider, fresh.upstream_model)
        now_kept[name] = kept.merged(fresh) if kept is not None and is_same else fresh
    tx.executemany(_SAVE, [(name, kept.to_json(), at) for name, kept in now_kept.items()])
    return now_kept


def _read(body: str) -> Calibration | None:
    try:
        return from_json(body)
    except ValueError:
        return None
