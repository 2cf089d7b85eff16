"""The invariants of the ledger's money that one query each can check; a row that comes back breaks it.

The names are those of the list of invariants: I1 ... I16; B, E, L and S are further ones of this schema. What holds for
each attempt of an exchange that has several is in ``attempt_queries``.
"""

# ruff: noqa: S608 - the statements are made of this file's constants, nothing from outside gets into them

from typing import Final

from ainf.inference.moments import SECOND_US
from ainf.store.attempt_queries import ENDED, SEVERAL
from ainf.store.invariants import Query
from ainf.store.settling import OUTLIVED
from ainf.store.spooled import NOTE as SPOOLED

# Leases are at most a minute long (a setting's bound), and reapers look every few seconds.
_REAPED_WITHIN_US: Final = 180 * SECOND_US
_CLOSED = "(SELECT count(*) FROM audit_events AS e WHERE e.inference_id = i.inference_id AND e.kind = '{kind}')"


def _amount(*kinds: str) -> str:
    names = ", ".join(f"'{kind}'" for kind in kinds)
    return f"coalesce(sum(CASE WHEN e.kind IN ({names}) THEN e.amount_nusd END), 0)"


_RESERVED = _amount("hold", "extend")
_PENDING = f"{_RESERVED} - {_amount('settle', 'release')}"

MONEY: Final = (
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
        "an open exchange holds what its entries set aside, from one hold on, less what its ended attempts gave back;"
        " nothing else was posted for it",
        ("inference_id", "held_nusd", "pending_nusd"),
        f"""
        SELECT h.inference_id, h.held_nusd, {_PENDING}
        FROM holds AS h LEFT JOIN entries AS e ON e.inference_id = h.inference_id
        GROUP BY h.inference_id, h.held_nusd
        HAVING h.held_nusd <> {_PENDING} OR sum(CASE WHEN e.kind = 'hold' THEN 1 ELSE 0 END) <> 1
            OR sum(CASE WHEN e.kind IN ('settle', 'overrun', 'adjustment') THEN 1 ELSE 0 END) > 0
            OR (sum(CASE WHEN e.kind = 'release' THEN 1 ELSE 0 END) > 0 AND h.inference_id NOT IN {SEVERAL})
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
        "the hold of an exchange of one attempt is its settlement and its release; only what is over it is overrun",
        ("inference_id", "held_nusd", "settled_nusd", "overrun_nusd"),
        f"""
        SELECT s.inference_id, s.held_nusd, s.settled_nusd, s.overrun_nusd
        FROM settlements AS s LEFT JOIN entries AS e ON e.inference_id = s.inference_id
        WHERE s.inference_id NOT IN {SEVERAL}
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
        "I6",
        "over the whole ledger, what providers were reckoned to cost is what was charged, where an amount could be had",
        ("attempts_nusd", "charged_nusd"),
        """
        SELECT * FROM (
            SELECT (
                    SELECT coalesce(sum(a.cost_nusd), 0) FROM attempts AS a
                    JOIN settlements AS s ON s.inference_id = a.inference_id WHERE s.evidence <> 'none'
                ) AS attempts,
                (SELECT coalesce(sum(settled_nusd + overrun_nusd), 0) FROM settlements WHERE evidence <> 'none')
                    AS charged
        ) AS sums WHERE attempts <> charged
        """,
    ),
    Query(
        "I8",
        "nothing is open of a process that ended, that a later gateway has followed (unless they share the database),"
        " or that has not shown for minutes that it lives, while others have",
        ("inference_id", "epoch", "ended_at"),
        f"""
        SELECT h.inference_id, h.epoch, p.ended_at FROM holds AS h LEFT JOIN instances AS p ON p.epoch = h.epoch
        WHERE p.ended_at IS NOT NULL
            OR h.epoch < (SELECT max(g.epoch) FROM instances AS g
                WHERE g.kind = 'gateway' AND NOT (g.shared AND coalesce(p.shared, FALSE)))
            OR p.lease_until + {_REAPED_WITHIN_US} < (
                SELECT max(g.lease_until) FROM instances AS g WHERE g.lease_boot = p.lease_boot)
        """,
    ),
    Query(
        "I9",
        "an exchange is settled by the process that opened it, from a spool, or when that process was dead",
        ("inference_id", "opened_in_epoch", "settled_in_epoch", "ending"),
        f"""
        SELECT s.inference_id, i.epoch, s.epoch, s.ending
        FROM settlements AS s JOIN inferences AS i ON i.inference_id = s.inference_id
        WHERE (s.epoch <> i.epoch AND s.ending <> 'abandoned' AND coalesce(s.notes ->> '{OUTLIVED}', 0) <> i.epoch)
            OR (s.epoch < i.epoch AND NOT EXISTS (
                SELECT 1 FROM instances AS p WHERE p.epoch = i.epoch AND p.fenced_at IS NOT NULL
            ) AND s.notes ->> '{SPOOLED}' IS NULL)
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
        "an adjustment is posted at most once for an attempt, to an abandoned exchange, with its audit event",
        ("inference_id", "adjustments", "attempts", "adjusting_events", "ending"),
        f"""
        SELECT * FROM (
            SELECT i.inference_id AS inference_id, (
                    SELECT count(*) FROM entries AS e
                    WHERE e.inference_id = i.inference_id AND e.kind = 'adjustment'
                ) AS adjustments, (
                    SELECT count(DISTINCT e.attempt) FROM entries AS e
                    WHERE e.inference_id = i.inference_id AND e.kind = 'adjustment'
                ) AS attempts, {_CLOSED.format(kind="inference.adjusted")} AS events, s.ending AS ending
            FROM (
                SELECT inference_id FROM entries WHERE kind = 'adjustment'
                UNION SELECT inference_id FROM audit_events WHERE kind = 'inference.adjusted'
            ) AS i LEFT JOIN settlements AS s ON s.inference_id = i.inference_id
        ) AS adjusted
        WHERE adjustments = 0 OR adjustments <> attempts OR events <> 1 OR ending IS NULL OR ending <> 'abandoned'
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
        "E1",
        "an entry is of the moment of its exchange's opening or settlement, or of that when its attempt was told as"
        " ended, and comes after its hold",
        ("inference_id", "seq", "kind", "at"),
        f"""
        SELECT e.inference_id, e.seq, e.kind, e.at FROM entries AS e
        JOIN inferences AS i ON i.inference_id = e.inference_id
        LEFT JOIN settlements AS s ON s.inference_id = e.inference_id
        WHERE (e.kind = 'hold' AND e.at <> i.opened_at)
            OR (e.kind IN ('settle', 'overrun') AND e.at <> s.settled_at)
            OR (e.kind = 'release' AND e.at IS NOT s.settled_at AND NOT EXISTS (
                SELECT 1 FROM {ENDED} AS n
                WHERE n.inference_id = e.inference_id AND n.number = e.attempt AND n.told_at = e.at
            ))
            OR (e.kind <> 'hold' AND EXISTS (
                SELECT 1 FROM entries AS h
                WHERE h.inference_id = e.inference_id AND h.kind = 'hold' AND h.seq > e.seq
            ))
        """,
    ),
    Query(
        "E2",
        "no entry but an adjustment takes less than nothing",
        ("inference_id", "seq", "kind", "amount_nusd"),
        """
        SELECT inference_id, seq, kind, amount_nusd FROM entries WHERE kind <> 'adjustment' AND amount_nusd < 0
        """,
    ),
    Query(
        "B1",
        "what is paid into a balance is the sum of its credits",
        ("cap_id", "limit_nusd", "credits_nusd"),
        """
        SELECT c.cap_id, c.limit_nusd, coalesce(sum(r.amount_nusd), 0)
        FROM caps AS c LEFT JOIN credits AS r ON r.cap_id = c.cap_id
        WHERE c.kind = 'balance' GROUP BY c.cap_id, c.limit_nusd
        HAVING c.limit_nusd <> coalesce(sum(r.amount_nusd), 0)
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
                    ORDER BY l.number DESC LIMIT 1
                ) AS last FROM caps AS c
        ) AS limits WHERE coalesce(now, -1) <> coalesce(last, -1)
        """,
    ),
    Query(
        "L2",
        "limits were set one after the other: none after an earlier entry than the one before it",
        ("number", "cap_id", "after_seq", "after_seq_before"),
        """
        SELECT * FROM (
            SELECT number, cap_id, after_seq, max(after_seq) OVER (
                    ORDER BY number ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
                ) AS before FROM cap_limits
        ) AS limits WHERE after_seq < before
        """,
    ),
)
