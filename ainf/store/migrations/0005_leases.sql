-- Leases: how a process that shares the database with others shows that it lives, and how one that does not is shut out.
-- And a kept answer goes with its claim, so that it needs no time of its own.

ALTER TABLE instances ADD COLUMN shared INTEGER NOT NULL DEFAULT 0;     -- whether others may use the database beside it
ALTER TABLE instances ADD COLUMN lease_boot TEXT;       -- the boot of the machine that lease_until is counted from
ALTER TABLE instances ADD COLUMN lease_until INTEGER;   -- microseconds of that machine's uptime; null: it never had a lease
ALTER TABLE instances ADD COLUMN fenced_at INTEGER;     -- when it was found dead: from then on nothing is written in its epoch
ALTER TABLE instances ADD COLUMN fenced_seq INTEGER;    -- the last event of its audit chain then

DROP INDEX answers_by_expiry;
ALTER TABLE answers DROP COLUMN expires_at;
DELETE FROM answers WHERE inference_id NOT IN (SELECT inference_id FROM claims WHERE state = 'kept');
