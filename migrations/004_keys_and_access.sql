-- Binds each key to its provider and to where it is sent, refuses headers that would take it elsewhere, keeps the
-- newest part of the history from being pruned, and lets roles with few rights use the schema.
-- Running it again does no harm; run it again after 001 or 003, which replace functions. roles.sql makes the roles.
--
--   psql -v ON_ERROR_STOP=1 -f 004_keys_and_access.sql

BEGIN;

SET LOCAL search_path = public;

---------------------------------------------------------------------------------------------------------- tables

ALTER TABLE llm_provider_configs
    -- Which encryption key the ciphertext was made with. NULL: not known, as after plain SQL.
    ADD COLUMN IF NOT EXISTS api_key_id TEXT,
    -- What binds the ciphertext to the provider's name and destination, in hex. NULL: not bound.
    ADD COLUMN IF NOT EXISTS api_key_mac TEXT;

ALTER TABLE llm_provider_configs
    DROP CONSTRAINT IF EXISTS llm_provider_configs_api_key_id_is_a_name,
    DROP CONSTRAINT IF EXISTS llm_provider_configs_api_key_mac_is_of_a_key,
    DROP CONSTRAINT IF EXISTS llm_provider_configs_api_key_is_framed_plainly,
    ADD CONSTRAINT llm_provider_configs_api_key_id_is_a_name CHECK (
        api_key_id ~ '^[A-Za-z0-9._-]{1,64}$'),
    ADD CONSTRAINT llm_provider_configs_api_key_mac_is_of_a_key CHECK (
        api_key_mac IS NULL OR (api_key_mac ~ '^[0-9a-f]{64}$' AND api_key_encrypted IS NOT NULL)),
    -- A first packet with a length of one octet, RFC 9580, 4.2: others hide the salt from provider_key_mark.
    ADD CONSTRAINT llm_provider_configs_api_key_is_framed_plainly CHECK (
        api_key_encrypted ~ '^(c3[0-9ab].|8c..)04') NOT VALID;

-- Where each stored key may be used, for ever: the history may be pruned, and this must not.
CREATE TABLE IF NOT EXISTS llm_provider_key_bindings (
    mark TEXT PRIMARY KEY,
    -- Not a reference: a key stays that of a deleted provider.
    provider_id INTEGER NOT NULL,
    destination TEXT NOT NULL
);

-- No part of the history that is younger is ever pruned. Only the owner of the tables can change it.
ALTER TABLE llm_provider_store ADD COLUMN IF NOT EXISTS shortest_retention INTERVAL NOT NULL DEFAULT '30 days';
-- How many entries of the history were pruned in all.
ALTER TABLE llm_provider_store ADD COLUMN IF NOT EXISTS pruned_entries BIGINT NOT NULL DEFAULT 0;
-- When that last was done.
ALTER TABLE llm_provider_store ADD COLUMN IF NOT EXISTS pruned_at TIMESTAMPTZ;
-- The session's user who did it then.
ALTER TABLE llm_provider_store ADD COLUMN IF NOT EXISTS pruned_by TEXT;

ALTER TABLE llm_provider_store
    DROP CONSTRAINT IF EXISTS llm_provider_store_shortest_retention_is_a_time,
    ADD CONSTRAINT llm_provider_store_shortest_retention_is_a_time CHECK (shortest_retention >= INTERVAL '0');

------------------------------------------------------------------------------------------------- where a key goes

-- Returns the scheme, host and port that a request goes to, such as https://api.example.com:443. What is not plainly a
-- URL with a path is returned whole, so that any change of it counts as another destination; the blank keeps that from
-- ever equalling a plain one. The collation has A-Z mean those 26 letters and no others.
CREATE OR REPLACE FUNCTION provider_destination(base_url TEXT, endpoint_path_template TEXT) RETURNS TEXT
LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = public, pg_temp AS $$
DECLARE
    -- RFC 3986, 3.2 and 3.3, without user information, query and fragment.
    part TEXT[] := regexp_match(base_url COLLATE "C",
        '^([Hh][Tt][Tt][Pp][Ss]?)://([A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?|\[[0-9A-Fa-f:.]+\])'
        '(?::([1-9][0-9]{0,4}))?(?:/[A-Za-z0-9._~!$&''()*+,;=:%/-]*)?$');
    scheme TEXT := lower(part[1] COLLATE "C");
BEGIN
    -- RFC 3986, 4.2, and https://url.spec.whatwg.org/#relative-slash-state: "//" and "/\" begin another host.
    IF part IS NULL OR endpoint_path_template COLLATE "C" !~ '^/(?![/\\])[!-~]*$' THEN
        RETURN base_url || ' ' || endpoint_path_template;
    END IF;
    RETURN scheme || '://' || lower(part[2] COLLATE "C") || ':'
        || coalesce(part[3], CASE scheme WHEN 'https' THEN '443' ELSE '80' END);
END
$$;

-- Returns where all requests of a provider go, streamed ones included: one destination, unless something is odd.
CREATE OR REPLACE FUNCTION provider_destinations(config llm_provider_configs) RETURNS TEXT
LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    SELECT string_agg(DISTINCT provider_destination(config.base_url, template) COLLATE "C", ' ')
    FROM (VALUES
        (config.endpoint_path_template), (config.request_builder_config #>> '{stream,endpoint_path_template}')
    ) path(template);
$$;

-- Tells messages of pgp_sym_encrypt apart by their salt, which the message cannot be read without: unlike the
-- fingerprint it stays the same when the packets are framed in another way. RFC 9580, 3.7.1 and 5.3.
CREATE OR REPLACE FUNCTION provider_key_mark(api_key_encrypted TEXT) RETURNS TEXT
LANGUAGE sql IMMUTABLE STRICT SET search_path = public, pg_temp AS $$
    SELECT CASE
        WHEN substr(api_key_encrypted, 9, 2) IN ('01', '03') THEN substr(api_key_encrypted, 13, 16)
        ELSE provider_key_fingerprint(api_key_encrypted)
    END;
$$;

INSERT INTO llm_provider_key_bindings
SELECT provider_key_mark(c.api_key_encrypted), c.id, provider_destinations(c)
FROM llm_provider_configs c WHERE c.api_key_encrypted IS NOT NULL ORDER BY c.id
ON CONFLICT DO NOTHING;

------------------------------------------------------------------------------------------------- what a request says

-- Returns whether a text is what headers have: a 'name', a 'value', a name that is 'reserved' for HTTP clients and
-- proxies, or one that is 'exposed' too much to carry a key. The daemon's validation/headers.py has the same patterns.
CREATE OR REPLACE FUNCTION provider_header_fits(kind TEXT, content TEXT) RETURNS BOOLEAN
LANGUAGE sql IMMUTABLE STRICT SET search_path = public, pg_temp AS $$
    SELECT content COLLATE "C" ~* ('^(?:' || CASE kind
        WHEN 'name' THEN '[!#$%&''*+.^_`|~0-9A-Za-z-]+'
        WHEN 'value' THEN '(?:[!-~](?:[ \t!-~]*[!-~])?)?'
        WHEN 'reserved' THEN 'host|content-length|connection|keep-alive|te|trailer|transfer-encoding|upgrade'
            '|http2-settings|expect|via|forwarded|x-real-ip|(?:x-forwarded|proxy)(?:-.*)?|x-host|x-original-url'
            '|x-rewrite-url|x-http-host-override|x-http-method|x-http-method-override|x-method-override'
        WHEN 'exposed' THEN '(?:http-)?referer|origin|user-agent|from|(?:set-)?cookie2?|accept(?:-.*)?|content-.*'
            '|sec-.*|access-control-.*|if-.*|range|date|cache-control|pragma|traceparent|tracestate|baggage'
    END || ')$');
$$;

-- Returns the members of an object, and none of what is no object.
CREATE OR REPLACE FUNCTION provider_members(document JSONB) RETURNS TABLE (name TEXT, value JSONB)
LANGUAGE sql IMMUTABLE STRICT SET search_path = public, pg_temp AS $$
    SELECT * FROM jsonb_each(CASE jsonb_typeof(document) WHEN 'object' THEN document END);
$$;

-- Returns what would have a request, and the key with it, answered by somebody else than base_url names. Which hosts a
-- key may be sent to beyond that, the daemon's settings say.
CREATE OR REPLACE FUNCTION provider_request_violations(config llm_provider_configs)
RETURNS TABLE (column_name TEXT, message TEXT)
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    template TEXT := coalesce(config.auth_header_template, '');
    auth_header TEXT := split_part(template, ':', 1);
BEGIN
    RETURN QUERY
        SELECT 'auth_header_template', problem.message
        FROM (VALUES
            (NOT template ~ ':' OR NOT provider_header_fits('name', auth_header)
                OR NOT provider_header_fits('value', regexp_replace(template, '^[^:]*: ?', '')),
             'auth_header_template must be a header name, ":" and a value of ASCII characters without line breaks'),
            (provider_header_fits('reserved', auth_header),
             'auth_header_template must not name a header that HTTP clients and proxies set themselves'),
            (provider_header_fits('exposed', auth_header),
             'auth_header_template must not name a header such as Referer or Cookie, which servers log and pass on')
        ) problem(applies, message)
        WHERE template <> '' AND problem.applies;
    RETURN QUERY
        SELECT 'base_url', 'base_url must be https:// and a host for a key to be sent there, or http:// and loopback'
        WHERE config.api_key_encrypted IS NOT NULL
          AND config.base_url COLLATE "C" !~* '^https://[^/?#\\[:space:]]'
          -- RFC 6761, 6.3: names below localhost are loopback too.
          AND provider_destination(config.base_url, '/') COLLATE "C"
              !~ '^http://(([a-z0-9_.-]+\.)?localhost|127(\.[0-9]{1,3}){3}|\[::1\]):[0-9]+$';
    RETURN QUERY
        WITH entry AS (
            SELECT e.name, coalesce(e.value ->> 'target', e.name) AS target, e.value AS rules
            FROM provider_members(config.request_builder_config -> 'payload_structure') e
            WHERE e.value ->> 'in' = 'header'
        ), header(place, name, content) AS (
            SELECT 'additional_headers', h.name, h.value #>> '{}' FROM provider_members(config.additional_headers) h
            UNION ALL
            SELECT 'request_builder_config', e.target, stored.value #>> '{}'
            FROM entry e
            LEFT JOIN LATERAL (VALUES (e.rules -> 'value'), (e.rules -> 'default')) stored(value)
                ON jsonb_typeof(stored.value) = 'string'
            UNION ALL
            SELECT 'request_builder_config', renamed.value #>> '{}', NULL
            FROM provider_members(config.request_builder_config -> 'model_overrides') override,
                provider_members(override.value -> 'rename') renamed
            WHERE renamed.name IN (SELECT e.name FROM entry e)
        )
        SELECT DISTINCT h.place, format(problem.message, h.place, left(h.name, 100))
        FROM header h, LATERAL (VALUES
            (NOT provider_header_fits('name', h.name),
             '%1$s must name headers by tokens: letters, digits and !#$%%&''*+-.^_`|~'),
            (provider_header_fits('reserved', h.name),
             '%1$s must not set %2$s: HTTP clients and proxies say it themselves'),
            (lower(h.name COLLATE "C") IN ('authorization', lower(auth_header COLLATE "C")),
             '%1$s must not set %2$s: auth_header_template carries the key'),
            (NOT provider_header_fits('value', h.content),
             '%1$s must give headers values of ASCII characters without line breaks or surrounding white space')
        ) problem(applies, message)
        WHERE problem.applies
        ORDER BY 1, 2;
END
$$;

-- Refuses such a request where it is new: in a column that changes, or with a key that is given. What is stored already
-- holds up no other change of its row.
CREATE OR REPLACE FUNCTION refuse_provider_request(before llm_provider_configs, after llm_provider_configs) RETURNS VOID
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    violations JSONB;
    -- A new header for the key may be one that is set already.
    all_new BOOLEAN := coalesce(after.api_key_encrypted <> coalesce(before.api_key_encrypted, ''), FALSE)
        OR after.auth_header_template IS DISTINCT FROM before.auth_header_template;
BEGIN
    -- Most writes are switches, which change none of these: they need not wait for the rest.
    IF NOT all_new
        AND (after.base_url, after.additional_headers, after.request_builder_config)
            IS NOT DISTINCT FROM (before.base_url, before.additional_headers, before.request_builder_config)
    THEN
        RETURN;
    END IF;
    SELECT jsonb_agg(jsonb_build_object('column', v.column_name, 'message', v.message)) INTO violations
    FROM provider_request_violations(after) v
    WHERE all_new OR to_jsonb(after) -> v.column_name IS DISTINCT FROM to_jsonb(before) -> v.column_name;
    IF violations IS NOT NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'PD003', MESSAGE = violations #>> '{0,message}', DETAIL = violations::TEXT,
            TABLE = 'llm_provider_configs', COLUMN = violations #>> '{0,column}';
    END IF;
END
$$;

------------------------------------------------------------------------------------------------------- the triggers

-- Keeps a key with its provider and its destination: otherwise whoever may edit a URL, or copy a row, can have a key
-- sent to himself. A key may move when it is given again, that is, encrypted anew. And refuses requests that would take
-- it along another way.
CREATE OR REPLACE FUNCTION vet_provider_key() RETURNS TRIGGER
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    target TEXT := provider_destinations(NEW);
    key_changed BOOLEAN := TRUE;
    bound llm_provider_key_bindings;
BEGIN
    PERFORM refuse_provider_request(OLD, NEW);
    IF TG_OP = 'UPDATE' THEN
        key_changed := NEW.api_key_encrypted IS DISTINCT FROM OLD.api_key_encrypted;
        IF NEW.api_key_mac = OLD.api_key_mac AND (key_changed OR NEW.provider_name <> OLD.provider_name) THEN
            NEW.api_key_mac := NULL;
        END IF;
        IF key_changed AND NEW.api_key_mac IS NULL THEN
            NEW.api_key_id := NULL;
        END IF;
    -- BEFORE INSERT also runs for a row that ON CONFLICT is about to turn away or to make an UPDATE of.
    ELSIF EXISTS (SELECT FROM llm_provider_configs c WHERE c.provider_name = NEW.provider_name OR c.id = NEW.id) THEN
        RETURN NEW;
    END IF;
    IF NEW.api_key_encrypted IS NULL THEN
        NEW.api_key_id := NULL;
        NEW.api_key_mac := NULL;
        RETURN NEW;
    ELSIF NOT key_changed AND target = provider_destinations(OLD) THEN
        RETURN NEW;
    END IF;
    SELECT b.* INTO bound FROM llm_provider_key_bindings b WHERE b.mark = provider_key_mark(NEW.api_key_encrypted);
    IF bound.provider_id <> NEW.id THEN
        RAISE EXCEPTION 'The key stored for provider % is that of another provider', NEW.provider_name USING
            ERRCODE = 'PD008', TABLE = TG_TABLE_NAME, COLUMN = 'api_key_encrypted',
            DETAIL = NEW.provider_name,
            HINT = 'Give the provider a key of its own, encrypted for it.';
    ELSIF bound.destination <> target OR NOT key_changed THEN
        RAISE EXCEPTION 'Provider % has a key, which is bound to its scheme, host and port: '
            'give the key again along with the new base_url', NEW.provider_name USING
            ERRCODE = 'PD007', TABLE = TG_TABLE_NAME, COLUMN = 'base_url',
            DETAIL = NEW.provider_name,
            HINT = 'Set base_url and a newly made pgp_sym_encrypt(key, passphrase) in one UPDATE.';
    ELSIF bound IS NULL THEN
        INSERT INTO llm_provider_key_bindings VALUES (provider_key_mark(NEW.api_key_encrypted), NEW.id, target);
    END IF;
    RETURN NEW;
END
$$;

-- Keeps the code that binds a key out of the history: whoever reads that must not learn it.
CREATE OR REPLACE FUNCTION trim_provider_snapshot() RETURNS TRIGGER
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    NEW.config_snapshot := NEW.config_snapshot - 'api_key_mac';
    RETURN NEW;
END
$$;

-- Triggers fire in the order of their names, so this one sees the key as trg_validate_provider_config has left it.
CREATE OR REPLACE TRIGGER trg_vet_provider_key
    BEFORE INSERT OR UPDATE ON llm_provider_configs
    FOR EACH ROW EXECUTE FUNCTION vet_provider_key();
CREATE OR REPLACE TRIGGER trg_trim_provider_snapshot
    BEFORE INSERT ON llm_provider_config_history
    FOR EACH ROW EXECUTE FUNCTION trim_provider_snapshot();
CREATE OR REPLACE TRIGGER trg_refuse_provider_truncate
    BEFORE TRUNCATE ON llm_provider_key_bindings
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_provider_truncate();

ALTER TABLE llm_provider_configs ENABLE ALWAYS TRIGGER trg_vet_provider_key;
ALTER TABLE llm_provider_config_history ENABLE ALWAYS TRIGGER trg_trim_provider_snapshot;
ALTER TABLE llm_provider_key_bindings ENABLE ALWAYS TRIGGER trg_refuse_provider_truncate;

-------------------------------------------------------------------------------------------------------- the history

-- Forgets entries from before a time, at most so many at once, and returns how many; never any that is younger than
-- shortest_retention of the store, whoever asks. Kept all the same is the newest entry of each provider before the
-- oldest revision that can still be asked for: it is what that and later revisions build on. Call it until it returns
-- 0.
CREATE OR REPLACE FUNCTION prune_provider_history(before TIMESTAMPTZ, at_most INTEGER DEFAULT 1000) RETURNS INTEGER
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    kept_from TIMESTAMPTZ;
    oldest BIGINT;
    pruned INTEGER;
BEGIN
    PERFORM lock_provider_store();
    SELECT least(before, now() - s.shortest_retention) INTO STRICT kept_from FROM llm_provider_store s;
    IF kept_from IS DISTINCT FROM before THEN
        RAISE NOTICE 'pruning up to % only, as shortest_retention of llm_provider_store says', kept_from;
    END IF;
    UPDATE llm_provider_store s
    SET oldest_revision = greatest(s.oldest_revision, least(s.revision, coalesce(
        (SELECT min(h.revision) FROM llm_provider_config_history h WHERE h.changed_at >= kept_from), s.revision)))
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
    IF pruned > 0 THEN
        UPDATE llm_provider_store s
        SET pruned_entries = s.pruned_entries + pruned, pruned_at = clock_timestamp(), pruned_by = SESSION_USER;
        -- The columns know the last time only; the server's log knows every one.
        RAISE LOG 'providerd: % pruned % entries of the history, up to %', SESSION_USER, pruned, kept_from;
    END IF;
    RETURN pruned;
END
$$;

------------------------------------------------------------------------------------------------------ privileges

-- These need more than those who call them or fire them: the store, the history and the bindings are written by no
-- one else. Their search_path is fixed, and the history still records SESSION_USER.
-- https://www.postgresql.org/docs/current/sql-createfunction.html#SQL-CREATEFUNCTION-SECURITY
ALTER FUNCTION lock_provider_store() SECURITY DEFINER;
ALTER FUNCTION queue_provider_writers() SECURITY DEFINER;
ALTER FUNCTION ensure_single_active_provider() SECURITY DEFINER;
ALTER FUNCTION validate_provider_config() SECURITY DEFINER;
ALTER FUNCTION log_provider_config_change() SECURITY DEFINER;
ALTER FUNCTION get_active_provider() SECURITY DEFINER;

ALTER TABLE llm_provider_key_bindings ENABLE ROW LEVEL SECURITY;

DO $$
DECLARE
    grantee TEXT;
BEGIN
    FOR grantee IN
        SELECT 'PUBLIC' UNION ALL SELECT rolname FROM pg_roles WHERE rolname IN ('anon', 'authenticated')
    LOOP
        EXECUTE 'REVOKE ALL ON llm_provider_key_bindings FROM ' || grantee;
        EXECUTE 'REVOKE ALL ON FUNCTION provider_destination, provider_destinations, provider_key_mark, '
            'provider_header_fits, provider_members, provider_request_violations, refuse_provider_request, '
            'vet_provider_key, trim_provider_snapshot, prune_provider_history FROM ' || grantee;
    END LOOP;
END
$$;

COMMIT;
