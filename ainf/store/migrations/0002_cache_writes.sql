-- What an exchange wrote to a provider's cache, and a way from a provider's response to the exchange that gave it.

ALTER TABLE settlements ADD COLUMN cache_write_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE settlements ADD COLUMN long_cache_write_tokens INTEGER NOT NULL DEFAULT 0;

CREATE INDEX attempts_by_response ON attempts (response_id) WHERE response_id IS NOT NULL;
