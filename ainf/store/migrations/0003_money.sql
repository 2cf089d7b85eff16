-- Caps in windows and per model, balances, limits of keys, idempotency, calibration, and what burnt money is known by.

CREATE TABLE caps_new (
    cap_id      TEXT    PRIMARY KEY,
    kind        TEXT    NOT NULL CHECK (kind IN ('cap', 'balance')),    -- a balance's limit is what was paid in
    subject     TEXT    NOT NULL CHECK (subject IN ('account', 'key')),
    subject_id  TEXT    NOT NULL,
    "window"    TEXT    NOT NULL CHECK ("window" IN ('hour', 'day', 'week', 'month', 'lifetime')),
    model       TEXT    NOT NULL,           -- a pattern of configured names; '*' is all
    limit_nusd  INTEGER NOT NULL,           -- of a balance it may be negative: corrections
    counts_from INTEGER NOT NULL,           -- entries up to this seq count by whose they are, later ones by inferences.caps
    created_at  INTEGER NOT NULL,
    removed_at  INTEGER,                    -- a removed cap stays removed: another one gets an id of its own
    CHECK (kind = 'balance' OR limit_nusd >= 0),
    CHECK (kind = 'cap' OR (subject = 'account' AND "window" = 'lifetime' AND model = '*'))
) STRICT;
INSERT INTO caps_new (cap_id, kind, subject, subject_id, "window", model, limit_nusd, counts_from, created_at, removed_at)
    SELECT c.cap_id, 'cap', c.subject, c.subject_id, c."window", '*', c.limit_nusd,
        -- It was last set, and then counted its subject's whole past, after its last removal.
        coalesce((
            SELECT min(l.after_seq) FROM cap_limits AS l WHERE l.cap_id = c.cap_id AND l.limit_nusd IS NOT NULL
                AND l.at > coalesce((SELECT max(r.at) FROM cap_limits AS r WHERE r.cap_id = c.cap_id AND r.limit_nusd IS NULL
                    AND r.at < coalesce(c.removed_at, 9223372036854775807)), -1)
        ), 0),
        c.created_at, c.removed_at
    FROM caps AS c;
DROP TABLE caps;
ALTER TABLE caps_new RENAME TO caps;
CREATE TABLE cap_limits_new (       -- every limit that a cap ever had
    number      INTEGER PRIMARY KEY,    -- in the order in which they were set: clocks stand still, and step back
    cap_id      TEXT    NOT NULL REFERENCES caps (cap_id),
    after_seq   INTEGER NOT NULL,       -- in force for entries with a greater seq
    limit_nusd  INTEGER,                -- null: removed
    at          INTEGER NOT NULL
) STRICT;
INSERT INTO cap_limits_new (cap_id, after_seq, limit_nusd, at)
    SELECT cap_id, after_seq, limit_nusd, at FROM cap_limits ORDER BY after_seq, at, rowid;
DROP TABLE cap_limits;
ALTER TABLE cap_limits_new RENAME TO cap_limits;
CREATE INDEX cap_limits_by_cap ON cap_limits (cap_id, number);
CREATE UNIQUE INDEX caps_in_force ON caps (subject, subject_id, kind, "window", model) WHERE removed_at IS NULL;

CREATE TABLE credits (              -- what was paid into a balance, and corrections of it; their sum is its limit
    credit_id   TEXT    PRIMARY KEY,
    cap_id      TEXT    NOT NULL REFERENCES caps (cap_id),
    kind        TEXT    NOT NULL CHECK (kind IN ('top_up', 'adjustment')),
    amount_nusd INTEGER NOT NULL CHECK (kind = 'adjustment' OR amount_nusd > 0),
    note        TEXT    NOT NULL,
    at          INTEGER NOT NULL
) STRICT;
CREATE INDEX credits_by_cap ON credits (cap_id, at);

ALTER TABLE keys ADD COLUMN requests_per_minute INTEGER;        -- null: no limit, as the next two
ALTER TABLE keys ADD COLUMN tokens_per_minute INTEGER;
ALTER TABLE keys ADD COLUMN concurrent_streams INTEGER;
ALTER TABLE keys ADD COLUMN inject_cost INTEGER NOT NULL DEFAULT 0;
ALTER TABLE keys ADD COLUMN maker_key_id TEXT;                  -- the key in whose name it was made

ALTER TABLE attempts ADD COLUMN aborted_billing TEXT;           -- how it was reckoned where we broke it off; else null

ALTER TABLE settlements ADD COLUMN audio_input_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE settlements ADD COLUMN audio_output_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE settlements ADD COLUMN retry_of TEXT;               -- the earlier exchange that this one asked again
ALTER TABLE settlements ADD COLUMN is_empty INTEGER NOT NULL DEFAULT 0;  -- billed, and nothing visible came
CREATE INDEX settlements_retried ON settlements (retry_of) WHERE retry_of IS NOT NULL;
CREATE INDEX inferences_by_account ON inferences (account_id, opened_at);
CREATE INDEX entries_adjusted ON entries (at) WHERE kind = 'adjustment';

CREATE TABLE claims (               -- the idempotency keys that are in use, or answered and not yet forgotten
    key_id          TEXT    NOT NULL REFERENCES keys (key_id),
    path            TEXT    NOT NULL,
    idempotency_key TEXT    NOT NULL,
    fingerprint     BLOB    NOT NULL,
    inference_id    TEXT    NOT NULL REFERENCES inferences (inference_id),
    state           TEXT    NOT NULL CHECK (state IN ('running', 'kept', 'too_large', 'freed')),
    expires_at      INTEGER,        -- null while it runs
    retry_of        TEXT,           -- the exchange that had freed it, where this one asks the same again
    PRIMARY KEY (key_id, path, idempotency_key)
) STRICT, WITHOUT ROWID;
CREATE INDEX claims_by_inference ON claims (inference_id);
CREATE INDEX claims_by_expiry ON claims (expires_at);

CREATE TABLE answers (              -- what was told under an idempotency key, to be told again
    inference_id TEXT    PRIMARY KEY REFERENCES inferences (inference_id),
    status       INTEGER NOT NULL,
    stream       INTEGER NOT NULL,
    headers      TEXT    NOT NULL,  -- JSON array of [name, value]
    body         BLOB    NOT NULL,
    expires_at   INTEGER NOT NULL
) STRICT;
CREATE INDEX answers_by_expiry ON answers (expires_at);

CREATE TABLE calibrations (         -- what was learnt of a model's bytes per token
    model       TEXT    PRIMARY KEY,
    body        TEXT    NOT NULL,
    updated_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
