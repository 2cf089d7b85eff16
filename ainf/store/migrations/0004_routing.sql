-- Routing: what was decided, each later attempt before its dial, and what became of it.

CREATE TABLE later_attempts (       -- those after the first, of which inferences tells; durable before their dial
    inference_id    TEXT    NOT NULL REFERENCES inferences (inference_id),
    number          INTEGER NOT NULL CHECK (number > 1),
    opened_at       INTEGER NOT NULL,
    caps            TEXT    NOT NULL,       -- as inferences.caps: what its entries count on
    model           TEXT    NOT NULL,
    upstream_model  TEXT    NOT NULL,
    provider        TEXT    NOT NULL,
    price_version   TEXT    NOT NULL REFERENCES prices (price_version),
    input_estimate  INTEGER NOT NULL,       -- tokens
    clamp_tokens    INTEGER,
    ended           TEXT    NOT NULL,       -- JSON array of [number, cost_nusd]: attempts that ended before it was opened
    PRIMARY KEY (inference_id, number)
) STRICT, WITHOUT ROWID;

ALTER TABLE entries ADD COLUMN attempt INTEGER NOT NULL DEFAULT 1;      -- for which attempt
ALTER TABLE holds ADD COLUMN attempt INTEGER NOT NULL DEFAULT 1;        -- whose the progress is

CREATE TABLE rulesets (             -- what decisions were made by; stored by content
    ruleset     TEXT    PRIMARY KEY,        -- its hash
    body        TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE routing_decisions (    -- of each exchange that was routed, written with its opening; none of a pinned one
    inference_id    TEXT    PRIMARY KEY REFERENCES inferences (inference_id),
    target          TEXT    NOT NULL,       -- the canonical name; inferences.requested_model has the one that was asked for
    ruleset         TEXT    NOT NULL REFERENCES rulesets (ruleset),
    body            TEXT    NOT NULL        -- the decision: what was asked, the candidates, why which was chosen
) STRICT;                           -- with rowid, as audit_events: many bodies are longer than 1,000 bytes

CREATE TABLE routing_outcomes (     -- one for each routed request: of an exchange in its closing transaction
    outcome_id      INTEGER PRIMARY KEY,
    inference_id    TEXT    REFERENCES inferences (inference_id),   -- null: nothing was admitted
    at              INTEGER NOT NULL,
    key_id          TEXT    NOT NULL REFERENCES keys (key_id),
    account_id      TEXT    NOT NULL,
    path            TEXT    NOT NULL,
    stream          INTEGER NOT NULL,
    requested_model TEXT    NOT NULL,
    target          TEXT    NOT NULL,
    ruleset         TEXT    NOT NULL REFERENCES rulesets (ruleset),
    status          TEXT    NOT NULL,       -- 'succeeded', 'fell_back', 'failed', ..., 'rejected_floor', ...
    code            TEXT,                   -- of the error that the client was told
    model           TEXT,                   -- that answered, or was tried last
    provider        TEXT,
    attempts        INTEGER NOT NULL,       -- that were opened
    first_byte_us   INTEGER,                -- from the opening to the first content
    cost_nusd       INTEGER NOT NULL,
    decision        TEXT,                   -- of what was not admitted; else routing_decisions has it
    CHECK ((inference_id IS NULL) = (decision IS NOT NULL))
) STRICT;
CREATE UNIQUE INDEX one_outcome ON routing_outcomes (inference_id) WHERE inference_id IS NOT NULL;
CREATE INDEX routing_outcomes_by_time ON routing_outcomes (at);

CREATE VIEW opened_attempts AS      -- every attempt as it was opened; ask it for given exchanges: a join scans them all
    SELECT inference_id, 1 AS number, opened_at, caps, model, upstream_model, provider, price_version, input_estimate,
        clamp_tokens
    FROM inferences
    UNION ALL
    SELECT inference_id, number, opened_at, caps, model, upstream_model, provider, price_version, input_estimate,
        clamp_tokens
    FROM later_attempts;

CREATE VIEW attempt_entries AS      -- every entry, with the exchange and the attempt that it is for
    SELECT e.seq, e.inference_id, e.attempt, e.kind, e.account_id, e.provider, e.amount_nusd, e.at,
        i.opened_at AS admitted_at, i.key_id, i.account_path, coalesce(l.model, i.model) AS model,
        coalesce(l.caps, i.caps) AS caps, coalesce(l.provider, i.provider) AS attempt_provider,
        coalesce(l.price_version, i.price_version) AS price_version
    FROM entries AS e
    JOIN inferences AS i ON i.inference_id = e.inference_id
    LEFT JOIN later_attempts AS l ON l.inference_id = e.inference_id AND l.number = e.attempt;
