"""The invariants of the other records that one query each can check: claims, endings, retries, what belongs to what.

The names are those of the list of invariants: I10, I12, I13; D and S are further ones of this schema.
"""

# ruff: noqa: S608 - the statements are made of constants, nothing from outside gets into them

from typing import Final

from ainf.inference.errors import CODES
from ainf.inference.outcome import Ending, Evidence
from ainf.ledger import EntryKind, Window
from ainf.store.invariants import Query, words

FINGERPRINT_BYTES: Final = 16


_OURS: Final = words((
    Ending.CLIENT_DISCONNECTED, Ending.DEADLINE_EXCEEDED, Ending.INTERNAL_ERROR, Ending.SHUTDOWN,
    Ending.SPEND_CAP_EXCEEDED, Ending.TERMINATED,
))  # fmt: skip

RECORDS: Final = (
    Query(
        "I10",
        "an idempotency key names an exchange of its own key and path: it runs while that is open; then its answer is"
        " kept, or it is not",
        ("key_id", "path", "idempotency_key", "inference_id", "state"),
        f"""
        SELECT c.key_id, c.path, c.idempotency_key, c.inference_id, c.state
        FROM claims AS c
        LEFT JOIN holds AS h ON h.inference_id = c.inference_id
        LEFT JOIN answers AS a ON a.inference_id = c.inference_id
        LEFT JOIN inferences AS i ON i.inference_id = c.inference_id
        WHERE c.state NOT IN ('running', 'kept', 'too_large', 'freed')
            OR (c.state = 'running') <> (h.inference_id IS NOT NULL)
            OR (c.state = 'running') <> (c.expires_at IS NULL)
            OR (c.state = 'kept') <> (a.inference_id IS NOT NULL)
            OR i.key_id <> c.key_id OR i.path <> c.path OR length(c.fingerprint) <> {FINGERPRINT_BYTES}
        """,
    ),
    Query(
        "I10",
        "an exchange is named by one idempotency key at most",
        ("inference_id", "claims"),
        "SELECT inference_id, count(*) FROM claims GROUP BY inference_id HAVING count(*) > 1",
    ),
    Query(
        "I10",
        "an answer is kept under an idempotency key",
        ("inference_id",),
        """
        SELECT a.inference_id FROM answers AS a
        LEFT JOIN claims AS c ON c.inference_id = a.inference_id
        WHERE c.inference_id IS NULL
        """,
    ),
    Query(
        "I12",
        "no provider was called before the hold that pays for it",
        ("inference_id", "attempt", "started_at", "held_at"),
        """
        SELECT inference_id, number, started_at, held_at FROM (
            SELECT a.*, CASE a.number WHEN 1 THEN e.at ELSE l.opened_at END AS held_at
            FROM attempts AS a
            LEFT JOIN entries AS e ON e.inference_id = a.inference_id AND e.kind = 'hold'
            LEFT JOIN later_attempts AS l ON l.inference_id = a.inference_id AND l.number = a.number
        ) AS called
        WHERE held_at IS NULL OR started_at < held_at OR ended_at < started_at
        """,
    ),
    Query(
        "I13",
        "an ending, its finish reason and its error code go together",
        ("inference_id", "ending", "finish_reason", "error_code"),
        f"""
        SELECT inference_id, ending, finish_reason, error_code FROM settlements
        WHERE ending NOT IN {words(Ending)}
            OR (error_code IS NOT NULL AND error_code NOT IN {words(CODES)})
            OR (ending = 'completed' AND (finish_reason IS NULL OR error_code IS NOT NULL))
            OR (ending = 'spend_cap_exceeded' AND (finish_reason IS NULL OR error_code IS NULL))
            OR (ending IN ('client_disconnected', 'abandoned')
                AND (finish_reason IS NOT NULL OR error_code IS NOT NULL))
            OR (ending IN ('upstream_error', 'deadline_exceeded', 'shutdown', 'terminated', 'internal_error')
                AND (coalesce(finish_reason, '') <> 'error' OR error_code IS NULL))
        """,
    ),
    Query(
        "I13",
        "how a provider bills what is broken off matters only where we broke off, be it one attempt of several",
        ("inference_id", "attempt", "aborted_billing", "ending"),
        f"""
        SELECT a.inference_id, a.number, a.aborted_billing, s.ending
        FROM attempts AS a JOIN settlements AS s ON s.inference_id = a.inference_id
        WHERE a.aborted_billing IS NOT NULL
            AND (a.aborted_billing NOT IN ('delivered', 'drain', 'held')
                OR (s.ending NOT IN {_OURS} AND NOT EXISTS (
                    SELECT 1 FROM attempts AS o WHERE o.inference_id = a.inference_id AND o.aborted_billing IS NULL
                )))
        """,
    ),
    Query(
        "S3",
        "what asked again is of the same account and body as what it asked again, and later",
        ("inference_id", "retry_of"),
        """
        SELECT s.inference_id, s.retry_of
        FROM settlements AS s
        JOIN inferences AS i ON i.inference_id = s.inference_id
        LEFT JOIN inferences AS r ON r.inference_id = s.retry_of AND r.inference_id <> i.inference_id
            AND r.account_id = i.account_id AND r.fingerprint = i.fingerprint
            AND (r.opened_at <= i.opened_at  -- or the wall clock was set back, and the ledger knows better
                OR (SELECT min(seq) FROM entries AS e WHERE e.inference_id = r.inference_id)
                    < (SELECT min(seq) FROM entries AS e WHERE e.inference_id = i.inference_id))
        WHERE s.retry_of IS NOT NULL AND r.inference_id IS NULL
        """,
    ),
    Query(
        "S4",
        "what is called empty was charged, and nothing visible or audible came",
        ("inference_id", "charged_nusd", "received_bytes"),
        """
        SELECT inference_id, settled_nusd + overrun_nusd, received_bytes FROM settlements
        WHERE is_empty <> 0 AND (settled_nusd + overrun_nusd = 0 OR received_bytes > 0 OR audio_output_tokens > 0)
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
        UNION ALL SELECT 'entries', x.inference_id,
            'attempt ' || x.attempt || ' of account ' || x.account_id || ' at ' || x.provider
        FROM entries AS x
        LEFT JOIN inferences AS y ON y.inference_id = x.inference_id AND y.account_id = x.account_id
        LEFT JOIN later_attempts AS z ON z.inference_id = x.inference_id AND z.number = x.attempt
        WHERE y.inference_id IS NULL OR x.provider IS NOT CASE x.attempt WHEN 1 THEN y.provider ELSE z.provider END
        UNION ALL SELECT 'settlements', x.inference_id, 'inference' FROM settlements AS x
        LEFT JOIN inferences AS y ON y.inference_id = x.inference_id WHERE y.inference_id IS NULL
        UNION ALL SELECT 'settlements', x.inference_id, 'epoch ' || x.epoch FROM settlements AS x
        LEFT JOIN instances AS y ON y.epoch = x.epoch WHERE y.epoch IS NULL
        UNION ALL SELECT 'credits', x.credit_id, 'balance ' || x.cap_id FROM credits AS x
        LEFT JOIN caps AS y ON y.cap_id = x.cap_id AND y.kind = 'balance' WHERE y.cap_id IS NULL
        UNION ALL SELECT 'claims', x.inference_id, 'inference of key ' || x.key_id || ' at ' || x.path FROM claims AS x
        LEFT JOIN inferences AS y ON y.inference_id = x.inference_id AND y.key_id = x.key_id AND y.path = x.path
        WHERE y.inference_id IS NULL
        UNION ALL SELECT 'answers', x.inference_id, 'settlement' FROM answers AS x
        LEFT JOIN settlements AS y ON y.inference_id = x.inference_id WHERE y.inference_id IS NULL
        UNION ALL SELECT 'audit_events', x.inference_id, 'settlement' FROM audit_events AS x
        LEFT JOIN settlements AS y ON y.inference_id = x.inference_id
        WHERE x.kind IN ('inference.closed', 'inference.adjusted') AND y.inference_id IS NULL
        """,
    ),
    Query(
        "I18",
        "nothing was written in an epoch after its process had been found dead",
        ("epoch", "last_seq", "last_seq_then"),
        """
        SELECT p.epoch, max(e.seq), p.fenced_seq FROM instances AS p JOIN audit_events AS e ON e.epoch = p.epoch
        WHERE p.fenced_at IS NOT NULL GROUP BY p.epoch, p.fenced_seq HAVING max(e.seq) > coalesce(p.fenced_seq, 0)
        """,
    ),
    Query(
        "D2",
        "an account's path is its parent's and itself",
        ("account_id", "path", "parent_path"),
        """
        SELECT a.account_id, a.path, p.path
        FROM accounts AS a LEFT JOIN accounts AS p ON p.account_id = a.parent_id
        WHERE a.path <> CASE WHEN a.parent_id IS NULL THEN '["' || a.account_id || '"]'
            ELSE substr(p.path, 1, length(p.path) - 1) || ',"' || a.account_id || '"]' END
        """,
    ),
    Query(
        "D3",
        "what is said in one of a few words is one of them",
        ("table", "row", "word"),
        f"""
        SELECT 'caps', cap_id, kind || ' ' || subject || ' ' || "window" FROM caps
        WHERE kind NOT IN ('cap', 'balance') OR subject NOT IN ('account', 'key')
            OR "window" NOT IN {words(Window)}
            OR (kind = 'balance' AND (subject <> 'account' OR "window" <> 'lifetime' OR model <> '*'))
        UNION ALL SELECT 'entries', inference_id, kind FROM entries WHERE kind NOT IN {words(EntryKind)}
        UNION ALL SELECT 'settlements', inference_id, evidence FROM settlements
        WHERE evidence NOT IN {words(Evidence)}
        UNION ALL SELECT 'instances', CAST(epoch AS TEXT), kind FROM instances WHERE kind NOT IN ('gateway', 'command')
        """,
    ),
)
