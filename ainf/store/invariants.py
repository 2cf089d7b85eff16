"""The invariants of the ledger that one query each can check; a row that comes back breaks it.

The names are those of the list of invariants: I1 ... I16; D, L, S are further ones of this schema.
"""

# ruff: noqa: S608 - the statements are made of this file's constants, nothing from outside gets into them

from typing import Final

import attrs


@attrs.frozen
class Query:
    """An invariant as a query for the rows that break it."""

    name: str
    meaning: str
    columns: tuple[str, ...]
    sql: str


_CLOSED = "(SELECT count(*) FROM audit_events AS e WHERE e.inference_id = i.inference_id AND e.kind = '{kind}')"


def _amount(*kinds: str) -> str:
    names = ", ".join(f"'{kind}'" for kind in kinds)
    return f"coalesce(sum(CASE WHEN e.kind IN ({names}) THEN e.amount_nusd END), 0)"


_RESERVED = _amount("hold", "extend")
_PENDING = f"{_RESERVED} - {_amount('settle', 'release')}"

QUERIES: Final = (
    Query(
        "I1",
        "an exchange is either open or settled, and has one closing event exactly when it is settled",
        ("inference_id", "open", "settled", "closing_events"),
        f"""
        SELECT * FROM (
            SELECT i.inference_id AS inference_id, h.inference_id IS NOT NULL AS is_open,
                s.inference_id IS NOT NULL AS is_settled, {_CLOSED.format(kind="inference.closed")} AS closings
            FROM inferences AS i
            LEFT JOIN holds AS h ON h.inference_id = i.inference_id
            LEFT JOIN settlements AS s ON s.inference_id = i.inference_id
        ) AS states
        WHERE is_open = is_settled OR is_settled <> closings
        """,
    ),
    Query(
        "I2",
        "what an account has pending by its entries is what its open exchanges hold",
        ("account_id", "pending_nusd", "held_nusd"),
        f"""
        SELECT account_id, sum(pending), sum(held) FROM (
            SELECT e.account_id AS account_id, {_PENDING} AS pending, 0 AS held FROM entries AS e GROUP BY e.account_id
            UNION ALL
            SELECT i.account_id, 0, sum(h.held_nusd)
            FROM holds AS h JOIN inferences AS i ON i.inference_id = h.inference_id GROUP BY i.account_id
        ) AS sums GROUP BY account_id HAVING sum(pending) <> sum(held)
        """,
    ),
    Query(
        "I2",
        "an open exchange holds what its entries set aside, and nothing else was posted for it",
        ("inference_id", "held_nusd", "reserved_nusd"),
        f"""
        SELECT h.inference_id, h.held_nusd, {_RESERVED}
        FROM holds AS h LEFT JOIN entries AS e ON e.inference_id = h.inference_id
        GROUP BY h.inference_id, h.held_nusd
        HAVING h.held_nusd <> {_RESERVED}
            OR sum(CASE WHEN e.kind IN ('settle', 'release', 'overrun', 'adjustment') THEN 1 ELSE 0 END) > 0
        """,
    ),
    Query(
        "I3",
        "what an account has posted by its entries is what its settlements and overruns sum up to",
        ("account_id", "posted_nusd", "settled_nusd"),
        f"""
        SELECT account_id, sum(posted), sum(settled) FROM (
            SELECT e.account_id AS account_id, {_amount("settle", "overrun")} AS posted, 0 AS settled
            FROM entries AS e GROUP BY e.account_id
            UNION ALL
            SELECT i.account_id, 0, sum(s.settled_nusd + s.overrun_nusd)
            FROM settlements AS s JOIN inferences AS i ON i.inference_id = s.inference_id GROUP BY i.account_id
        ) AS sums GROUP BY account_id HAVING sum(posted) <> sum(settled)
        """,
    ),
    Query(
        "I5",
        "a settled exchange's hold is its settlement and its release; only what is over the hold is overrun",
        ("inference_id", "held_nusd", "settled_nusd", "overrun_nusd"),
        f"""
        SELECT s.inference_id, s.held_nusd, s.settled_nusd, s.overrun_nusd
        FROM settlements AS s LEFT JOIN entries AS e ON e.inference_id = s.inference_id
        GROUP BY s.inference_id, s.held_nusd, s.settled_nusd, s.overrun_nusd
        HAVING s.held_nusd <> {_RESERVED} OR s.settled_nusd <> {_amount("settle")}
            OR s.held_nusd - s.settled_nusd <> {_amount("release")} OR s.overrun_nusd <> {_amount("overrun")}
            OR sum(CASE WHEN e.kind = 'hold' THEN 1 ELSE 0 END) <> 1
            OR sum(CASE WHEN e.kind = 'settle' THEN 1 ELSE 0 END) <> 1
            OR s.settled_nusd < 0 OR s.settled_nusd > s.held_nusd
            OR (s.overrun_nusd <> 0 AND s.settled_nusd <> s.held_nusd)
        """,
    ),
    Query(
        "I8",
        "nothing is open of a process that ended, or that a later gateway has followed",
        ("inference_id", "epoch", "ended_at"),
        """
        SELECT h.inference_id, h.epoch, p.ended_at FROM holds AS h LEFT JOIN instances AS p ON p.epoch = h.epoch
        WHERE p.ended_at IS NOT NULL OR h.epoch < (SELECT max(epoch) FROM instances WHERE kind = 'gateway')
        """,
    ),
    Query(
        "I9",
        "an exchange is settled by the process that opened it, or later by recovery",
        ("inference_id", "opened_in_epoch", "settled_in_epoch", "ending"),
        """
        SELECT s.inference_id, i.epoch, s.epoch, s.ending
        FROM settlements AS s JOIN inferences AS i ON i.inference_id = s.inference_id
        WHERE s.epoch < i.epoch OR (s.epoch <> i.epoch AND s.ending <> 'abandoned')
        """,
    ),
    Query(
        "I14",
        "over the whole ledger, what was set aside was settled, released or is still held",
        ("pending_nusd", "held_nusd"),
        f"""
        SELECT * FROM (
            SELECT (SELECT {_PENDING} FROM entries AS e) AS pending,
                (SELECT coalesce(sum(held_nusd), 0) FROM holds) AS held
        ) AS sums WHERE pending <> held
        """,
    ),
    Query(
        "I16",
        "an adjustment is posted at most once, to an abandoned exchange, with its audit event",
        ("inference_id", "adjustments", "adjusting_events", "ending"),
        f"""
        SELECT * FROM (
            SELECT i.inference_id AS inference_id, (
                    SELECT count(*) FROM entries AS e
                    WHERE e.inference_id = i.inference_id AND e.kind = 'adjustment'
                ) AS adjustments, {_CLOSED.format(kind="inference.adjusted")} AS events, s.ending AS ending
            FROM (
                SELECT inference_id FROM entries WHERE kind = 'adjustment'
                UNION SELECT inference_id FROM audit_events WHERE kind = 'inference.adjusted'
            ) AS i LEFT JOIN settlements AS s ON s.inference_id = i.inference_id
        ) AS adjusted
        WHERE adjustments <> 1 OR events <> 1 OR ending IS NULL OR ending <> 'abandoned'
        """,
    ),
    Query(
        "S1",
        "a settlement is the sum of its attempts' costs, or the whole hold where no amount could be had",
        ("inference_id", "charged_nusd", "attempts_nusd", "evidence"),
        """
        SELECT s.inference_id, s.settled_nusd + s.overrun_nusd, coalesce(sum(a.cost_nusd), 0), s.evidence
        FROM settlements AS s LEFT JOIN attempts AS a ON a.inference_id = s.inference_id
        GROUP BY s.inference_id, s.settled_nusd, s.overrun_nusd, s.held_nusd, s.evidence
        HAVING CASE WHEN s.evidence = 'none' THEN s.settled_nusd <> s.held_nusd
                    ELSE s.settled_nusd + s.overrun_nusd <> coalesce(sum(a.cost_nusd), 0) END
        """,
    ),
    Query(
        "S2",
        "an exchange's attempts are numbered from 1 without a gap",
        ("inference_id", "attempts", "last_number"),
        """
        SELECT inference_id, count(*), max(number) FROM attempts
        GROUP BY inference_id HAVING count(*) <> max(number) OR min(number) <> 1
        """,
    ),
    Query(
        "L1",
        "a cap's limit is the last one of its history",
        ("cap_id", "limit_nusd", "last_limit_nusd"),
        """
        SELECT * FROM (
            SELECT c.cap_id AS cap_id, CASE WHEN c.removed_at IS NULL THEN c.limit_nusd END AS now, (
                    SELECT l.limit_nusd FROM cap_limits AS l WHERE l.cap_id = c.cap_id
                    ORDER BY l.after_seq DESC, l.at DESC LIMIT 1
                ) AS last FROM caps AS c
        ) AS limits WHERE coalesce(now, -1) <> coalesce(last, -1)
        """,
    ),
    Query(
        "D1",
        "every row belongs to something that is there",
        ("table", "row", "missing"),
        """
        SELECT 'accounts', x.account_id, 'parent ' || x.parent_id FROM accounts AS x
        LEFT JOIN accounts AS y ON y.account_id = x.parent_id WHERE x.parent_id IS NOT NULL AND y.account_id IS NULL
        UNION ALL SELECT 'keys', x.key_id, 'account ' || x.account_id FROM keys AS x
        LEFT JOIN accounts AS y ON y.account_id = x.account_id WHERE y.account_id IS NULL
        UNION ALL SELECT 'caps', x.cap_id, x.subject || ' ' || x.subject_id FROM caps AS x
        LEFT JOIN accounts AS y ON x.subject = 'account' AND y.account_id = x.subject_id
        LEFT JOIN keys AS z ON x.subject = 'key' AND z.key_id = x.subject_id
        WHERE y.account_id IS NULL AND z.key_id IS NULL
        UNION ALL SELECT 'cap_limits', x.cap_id, 'cap' FROM cap_limits AS x
        LEFT JOIN caps AS y ON y.cap_id = x.cap_id WHERE y.cap_id IS NULL
        UNION ALL SELECT 'counters', x.cap_id, 'cap' FROM counters AS x
        LEFT JOIN caps AS y ON y.cap_id = x.cap_id WHERE y.cap_id IS NULL
        UNION ALL SELECT 'inferences', x.inference_id, 'key ' || x.key_id FROM inferences AS x
        LEFT JOIN keys AS y ON y.key_id = x.key_id AND y.account_id = x.account_id WHERE y.key_id IS NULL
        UNION ALL SELECT 'inferences', x.inference_id, 'account path' FROM inferences AS x
        LEFT JOIN accounts AS y ON y.account_id = x.account_id AND y.path = x.account_path WHERE y.account_id IS NULL
        UNION ALL SELECT 'inferences', x.inference_id, 'epoch ' || x.epoch FROM inferences AS x
        LEFT JOIN instances AS y ON y.epoch = x.epoch WHERE y.epoch IS NULL
        UNION ALL SELECT 'inferences', x.inference_id, 'price ' || x.price_version FROM inferences AS x
        LEFT JOIN prices AS y ON y.price_version = x.price_version WHERE y.price_version IS NULL
        UNION ALL SELECT 'holds', x.inference_id, 'inference' FROM holds AS x
        LEFT JOIN inferences AS y ON y.inference_id = x.inference_id AND y.key_id = x.key_id AND y.epoch = x.epoch
        WHERE y.inference_id IS NULL
        UNION ALL SELECT 'attempts', x.inference_id, 'settlement' FROM attempts AS x
        LEFT JOIN settlements AS y ON y.inference_id = x.inference_id WHERE y.inference_id IS NULL
        UNION ALL SELECT 'attempts', x.inference_id, 'price ' || x.price_version FROM attempts AS x
        LEFT JOIN prices AS y ON y.price_version = x.price_version WHERE y.price_version IS NULL
        UNION ALL SELECT 'entries', x.inference_id, 'inference of account ' || x.account_id FROM entries AS x
        LEFT JOIN inferences AS y ON y.inference_id = x.inference_id AND y.account_id = x.account_id
        WHERE y.inference_id IS NULL
        UNION ALL SELECT 'settlements', x.inference_id, 'inference' FROM settlements AS x
        LEFT JOIN inferences AS y ON y.inference_id = x.inference_id WHERE y.inference_id IS NULL
        UNION ALL SELECT 'audit_events', x.inference_id, 'settlement' FROM audit_events AS x
        LEFT JOIN settlements AS y ON y.inference_id = x.inference_id
        WHERE x.kind IN ('inference.closed', 'inference.adjusted') AND y.inference_id IS NULL
        """,
    ),
)
