-- What reading the history by revision, and forgetting the oldest part of it, needs. Running it again does no harm.
--
--   psql -v ON_ERROR_STOP=1 -f 003_history_retention.sql

BEGIN;

SET LOCAL search_path = public;

-- Entries below this revision are pruned; the configuration at this revision and at each later one is still known.
ALTER TABLE llm_provider_store ADD COLUMN IF NOT EXISTS oldest_revision BIGINT NOT NULL DEFAULT 1;

-- The id in the snapshot outlives the provider, a rename of it, and a new provider of the same name.
CREATE INDEX IF NOT EXISTS llm_provider_config_history_by_snapshot_id
    ON llm_provider_config_history (((config_snapshot ->> 'id')::INTEGER), id);

-- Forgets entries from before a time, at most so many at once, and returns how many. Kept all the same is the newest
-- entry of each provider before the oldest revision that can still be asked for: it is what that and later revisions
-- build on. Call it until it returns 0.
CREATE OR REPLACE FUNCTION prune_provider_history(before TIMESTAMPTZ, at_most INTEGER DEFAULT 1000) RETURNS INTEGER
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    oldest BIGINT;
    pruned INTEGER;
BEGIN
    PERFORM lock_provider_store();
    UPDATE llm_provider_store s
    SET oldest_revision = greatest(s.oldest_revision, least(s.revision, coalesce(
        (SELECT min(h.revision) FROM llm_provider_config_history h WHERE h.changed_at >= before), s.revision)))
    RETURNING s.oldest_revision INTO oldest;
    DELETE FROM llm_provider_config_history WHERE id IN (
        SELECT h.id FROM llm_provider_config_history h
        WHERE h.revision < oldest AND (h.action = 'deleted' OR EXISTS (
            SELECT FROM llm_provider_config_history later
            WHERE (later.config_snapshot ->> 'id')::INTEGER = (h.config_snapshot ->> 'id')::INTEGER
              AND later.id > h.id AND later.revision < oldest
        ))
        ORDER BY h.id LIMIT at_most
    );
    GET DIAGNOSTICS pruned = ROW_COUNT;
    RETURN pruned;
END
$$;

DO $$
DECLARE
    grantee TEXT;
BEGIN
    FOR grantee IN
        SELECT 'PUBLIC' UNION ALL SELECT rolname FROM pg_roles WHERE rolname IN ('anon', 'authenticated')
    LOOP
        EXECUTE 'REVOKE ALL ON FUNCTION prune_provider_history FROM ' || grantee;
    END LOOP;
END
$$;

COMMIT;
