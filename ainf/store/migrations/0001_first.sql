-- The first schema. Times are microseconds since 1970 UTC, amounts nano-dollars, JSON is canonical text.
-- Rows of inferences, attempts, entries, settlements, audit_events and prices are never changed once written, but for
-- inferences.caps; what does change (holds, counters, limits, keys' and accounts' ends) has a table or column of its own.

CREATE TABLE instances (            -- one life of one process; its number is the epoch, and the fence of its writes
    epoch       INTEGER PRIMARY KEY AUTOINCREMENT,
    kind        TEXT    NOT NULL,   -- 'gateway' or 'command'
    started_at  INTEGER NOT NULL,
    ended_at    INTEGER,            -- null while it runs, and for ever when it was killed
    carried_seq INTEGER NOT NULL DEFAULT 0  -- the newest head of its audit chain that a later epoch's first event carries
) STRICT;

CREATE TABLE accounts (
    account_id  TEXT    PRIMARY KEY,
    name        TEXT    NOT NULL UNIQUE,
    parent_id   TEXT    REFERENCES accounts (account_id),
    path        TEXT    NOT NULL,   -- JSON array of account ids, root first, this one last
    created_at  INTEGER NOT NULL,
    closed_at   INTEGER
) STRICT;

CREATE TABLE keys (
    key_id          TEXT    PRIMARY KEY,    -- the public part of the key
    digest          BLOB    NOT NULL UNIQUE,-- SHA-256 of the whole key
    account_id      TEXT    NOT NULL REFERENCES accounts (account_id),
    models          TEXT,                   -- JSON array of allowed models; null: all
    endpoints       TEXT,                   -- JSON array of allowed paths; null: all
    finish_reasons  TEXT    NOT NULL DEFAULT 'extended',
    money_refusal   TEXT    NOT NULL DEFAULT '402',
    created_at      INTEGER NOT NULL,
    expires_at      INTEGER,
    revoked_at      INTEGER
) STRICT;

CREATE TABLE caps (
    cap_id      TEXT    PRIMARY KEY,
    subject     TEXT    NOT NULL CHECK (subject IN ('account', 'key')),
    subject_id  TEXT    NOT NULL,
    "window"    TEXT    NOT NULL CHECK ("window" IN ('lifetime')),
    limit_nusd  INTEGER NOT NULL CHECK (limit_nusd >= 0),
    created_at  INTEGER NOT NULL,
    removed_at  INTEGER,
    UNIQUE (subject, subject_id, "window")
) STRICT;

CREATE TABLE cap_limits (           -- every limit that a cap ever had, in the order of the ledger's entries
    cap_id      TEXT    NOT NULL REFERENCES caps (cap_id),
    after_seq   INTEGER NOT NULL,   -- in force for entries with a greater seq
    limit_nusd  INTEGER,            -- null: removed
    at          INTEGER NOT NULL,
    PRIMARY KEY (cap_id, after_seq, at)
) STRICT;

CREATE TABLE counters (             -- what a cap has seen in one window
    cap_id        TEXT    NOT NULL REFERENCES caps (cap_id),
    window_start  INTEGER NOT NULL,
    settled_nusd  INTEGER NOT NULL DEFAULT 0,   -- settled, overrun and adjustments together
    held_nusd     INTEGER NOT NULL DEFAULT 0 CHECK (held_nusd >= 0),
    PRIMARY KEY (cap_id, window_start)
) STRICT, WITHOUT ROWID;

CREATE TABLE prices (
    price_version TEXT PRIMARY KEY,
    body          TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE inferences (
    inference_id    TEXT    PRIMARY KEY,        -- ordered by time
    opened_at       INTEGER NOT NULL,
    epoch           INTEGER NOT NULL REFERENCES instances (epoch),
    key_id          TEXT    NOT NULL REFERENCES keys (key_id),
    account_id      TEXT    NOT NULL,
    account_path    TEXT    NOT NULL,           -- as it was at admission
    caps            TEXT    NOT NULL,           -- JSON array of [cap_id, window_start]: fixed at admission; a cap that is set while it
                                                -- runs is added
    protocol        TEXT    NOT NULL,
    path            TEXT    NOT NULL,
    stream          INTEGER NOT NULL,
    requested_model TEXT    NOT NULL,
    model           TEXT    NOT NULL,           -- of the first attempt, as the three after it
    upstream_model  TEXT    NOT NULL,
    provider        TEXT    NOT NULL,
    price_version   TEXT    NOT NULL REFERENCES prices (price_version),
    input_bytes     INTEGER NOT NULL,
    input_estimate  INTEGER NOT NULL,           -- tokens
    clamp_tokens    INTEGER,
    fingerprint     BLOB    NOT NULL,
    sdk_retry_count INTEGER,
    labels          TEXT    NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX inferences_by_fingerprint ON inferences (account_id, fingerprint, opened_at);

CREATE TABLE holds (                -- the open exchanges, and nothing else: a closing deletes its row
    inference_id      TEXT    PRIMARY KEY REFERENCES inferences (inference_id),
    epoch             INTEGER NOT NULL,
    key_id            TEXT    NOT NULL,
    held_nusd         INTEGER NOT NULL,
    -- the last durable progress: what recovery settles at (null: none yet)
    progress_at       INTEGER,
    progress_usage    TEXT,
    progress_nusd     INTEGER,
    output_bytes      INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX holds_by_epoch ON holds (epoch);

CREATE TABLE attempts (             -- written at the close; a live attempt is known from inferences and holds
    inference_id        TEXT    NOT NULL REFERENCES inferences (inference_id),
    number              INTEGER NOT NULL,       -- from 1
    model               TEXT    NOT NULL,
    upstream_model      TEXT    NOT NULL,
    provider            TEXT    NOT NULL,
    price_version       TEXT    NOT NULL,
    started_at          INTEGER NOT NULL,
    ended_at            INTEGER NOT NULL,
    status              INTEGER,
    error_code          TEXT,
    provider_request_id TEXT,
    response_id         TEXT,
    raw_usage           TEXT,
    raw_finish_reason   TEXT,
    usage               TEXT    NOT NULL,
    evidence            TEXT    NOT NULL,
    cost_nusd           INTEGER NOT NULL,
    redials             INTEGER NOT NULL,
    PRIMARY KEY (inference_id, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE entries (              -- double entry: each row moves an amount from the account to the provider
    seq           INTEGER PRIMARY KEY,          -- rows are never deleted, so it only grows
    inference_id  TEXT    NOT NULL REFERENCES inferences (inference_id),
    kind          TEXT    NOT NULL CHECK (kind IN ('hold', 'extend', 'settle', 'release', 'overrun', 'adjustment')),
    account_id    TEXT    NOT NULL,             -- debited (a release gives back, an adjustment may be negative)
    provider      TEXT    NOT NULL,             -- credited
    amount_nusd   INTEGER NOT NULL,
    at            INTEGER NOT NULL
) STRICT;
CREATE INDEX entries_by_inference ON entries (inference_id);

CREATE TABLE settlements (
    inference_id      TEXT    PRIMARY KEY REFERENCES inferences (inference_id),
    settled_at        INTEGER NOT NULL,
    epoch             INTEGER NOT NULL,         -- of the process that settled
    ending            TEXT    NOT NULL,
    error_code        TEXT,
    finish_reason     TEXT,
    evidence          TEXT    NOT NULL,
    input_tokens        INTEGER NOT NULL,
    cached_input_tokens INTEGER NOT NULL,
    output_tokens       INTEGER NOT NULL,
    reasoning_tokens    INTEGER NOT NULL,
    held_nusd         INTEGER NOT NULL,
    settled_nusd      INTEGER NOT NULL CHECK (settled_nusd BETWEEN 0 AND held_nusd),
    overrun_nusd      INTEGER NOT NULL CHECK (overrun_nusd >= 0),
    output_bytes      INTEGER NOT NULL,         -- visible, handed over before the terminal frame
    received_bytes    INTEGER NOT NULL,         -- visible, had from the provider
    notes             TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE audit_events (         -- a hash chain per epoch, gapless
    epoch         INTEGER NOT NULL REFERENCES instances (epoch),
    seq           INTEGER NOT NULL,             -- from 1
    kind          TEXT    NOT NULL,             -- 'epoch.started', 'inference.closed', 'inference.adjusted', 'rejected', 'key.created', ...
    inference_id  TEXT,
    at            INTEGER NOT NULL,
    body          TEXT    NOT NULL,             -- canonical JSON; holds epoch, seq, kind and at too
    prev_hash     TEXT    NOT NULL,
    hash          TEXT    NOT NULL,             -- SHA-256(prev_hash + body), hex
    PRIMARY KEY (epoch, seq)
) STRICT;                           -- with rowid: beyond 1,000 bytes a row without one takes a page of its own
CREATE UNIQUE INDEX one_closing_event ON audit_events (inference_id) WHERE kind = 'inference.closed';
