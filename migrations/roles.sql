-- The roles that use the schema with few rights: providerd_daemon and providerd_reader. Nobody logs in as these; grant
-- them to the accounts that do. Run it as the owner of the tables, who ran the migrations and may create roles, and
-- again after each migration; it takes back what it does not grant.
-- docs/how-to/database-roles.md explains it.
--
--   psql -v ON_ERROR_STOP=1 -f roles.sql

BEGIN;

SET LOCAL search_path = public;

-- Policies lock their tables against everybody. Writers and readers have locks on some of these tables when they ask for
-- the others, so whoever waits here must soon let go again: otherwise one of them, or this, would end in a deadlock.
DO $$
DECLARE
    gives_up TIMESTAMPTZ := clock_timestamp() + INTERVAL '60 seconds';
BEGIN
    -- Well below deadlock_timeout, which is a second unless somebody changed it.
    SET LOCAL lock_timeout = '300ms';
    LOOP
        BEGIN
            LOCK TABLE llm_provider_store, llm_provider_configs, llm_provider_config_history;
            EXIT;
        EXCEPTION
            WHEN lock_not_available OR deadlock_detected THEN
                IF clock_timestamp() > gives_up THEN
                    RAISE lock_not_available USING MESSAGE = 'the tables are in use by a transaction that does not end',
                        HINT = 'See pg_stat_activity for it, end it, and run this again.';
                END IF;
                PERFORM pg_sleep(random() * 0.1);
        END;
    END LOOP;
END
$$;

DO $$
DECLARE
    role_name TEXT;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['providerd_daemon', 'providerd_reader'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role_name);
        END IF;
    END LOOP;
END
$$;

------------------------------------------------------------------------------------------ nothing, for everybody

-- anon, authenticated and service_role are those that Supabase serves the schema public to.
DO $$
DECLARE
    grantee TEXT;
BEGIN
    FOR grantee IN
        SELECT 'PUBLIC' UNION ALL SELECT rolname FROM pg_roles
        WHERE rolname IN ('anon', 'authenticated', 'service_role', 'providerd_daemon', 'providerd_reader')
    LOOP
        EXECUTE 'REVOKE ALL ON llm_provider_configs, llm_provider_config_history, llm_provider_store, '
            'llm_provider_key_bindings, llm_provider_configs_id_seq, llm_provider_config_history_id_seq FROM ' || grantee;
        EXECUTE 'REVOKE ALL ON FUNCTION lock_provider_store, next_provider_revision, queue_provider_writers, '
            'provider_content, provider_key_fingerprint, provider_key_hex, provider_key_mark, provider_destination, '
            'provider_destinations, provider_inexact_number, provider_document_violations, provider_config_violations, '
            'provider_header_fits, provider_members, provider_request_violations, refuse_provider_request, '
            'validate_provider_config, vet_provider_key, note_provider_editor, trim_provider_snapshot, '
            'ensure_single_active_provider, prevent_active_provider_deletion, refuse_provider_truncate, '
            'provider_update_action, log_provider_config_change, get_active_provider, switch_active_provider, '
            'prune_provider_history FROM ' || grantee;
    END LOOP;
END
$$;

------------------------------------------------------------------------------------------------------- the daemon

-- It writes the configurations, under their triggers; the history, the store and the bindings only these write. The
-- store says for how long at least the history is kept, so nothing but SELECT on it is for the daemon.
GRANT SELECT, INSERT, UPDATE, DELETE ON llm_provider_configs TO providerd_daemon;
GRANT USAGE ON SEQUENCE llm_provider_configs_id_seq TO providerd_daemon;
GRANT SELECT ON llm_provider_config_history, llm_provider_store TO providerd_daemon;
GRANT EXECUTE ON FUNCTION lock_provider_store, switch_active_provider, prune_provider_history, get_active_provider
    TO providerd_daemon;

------------------------------------------------------------------------------------------------------- the reader

-- Column by column, so that a column to come is not seen before somebody has thought about it. Not among them:
-- api_key_encrypted, api_key_mac.
GRANT SELECT (
    id, provider_name, display_name, description, auth_scheme, auth_header_template, base_url, endpoint_path_template,
    http_method, additional_headers, request_builder_config, response_extractor_config, default_model, supported_models,
    model_capabilities, context_window_tokens, max_output_tokens_limit, is_active, is_enabled, config_version,
    created_at, updated_at, updated_by, api_key_id
) ON llm_provider_configs TO providerd_reader;
GRANT SELECT ON llm_provider_config_history, llm_provider_store TO providerd_reader;
GRANT EXECUTE ON FUNCTION get_active_provider TO providerd_reader;

-------------------------------------------------------------------------------------------------- row security

DROP POLICY IF EXISTS providerd_daemon_writes ON llm_provider_configs;
CREATE POLICY providerd_daemon_writes ON llm_provider_configs TO providerd_daemon USING (TRUE) WITH CHECK (TRUE);
DROP POLICY IF EXISTS providerd_reads ON llm_provider_configs;
CREATE POLICY providerd_reads ON llm_provider_configs FOR SELECT TO providerd_reader USING (TRUE);
DROP POLICY IF EXISTS providerd_reads ON llm_provider_config_history;
CREATE POLICY providerd_reads ON llm_provider_config_history FOR SELECT
    TO providerd_daemon, providerd_reader USING (TRUE);
DROP POLICY IF EXISTS providerd_reads ON llm_provider_store;
CREATE POLICY providerd_reads ON llm_provider_store FOR SELECT TO providerd_daemon, providerd_reader USING (TRUE);

------------------------------------------------------------------------------------------------ around the schema

-- Supabase keeps pgcrypto there.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_namespace WHERE nspname = 'extensions') THEN
        GRANT USAGE ON SCHEMA extensions TO providerd_daemon;
    END IF;
END
$$;

-- With these the daemon keeps API keys, which are bind parameters, out of PostgreSQL's own log. Where only a superuser
-- may grant them, the daemon says at start what the log would hold.
DO $$
BEGIN
    GRANT SET ON PARAMETER
        log_parameter_max_length, auto_explain.log_parameter_max_length, auto_explain.log_verbose TO providerd_daemon;
EXCEPTION
    WHEN insufficient_privilege THEN
        RAISE NOTICE 'not granted to providerd_daemon: %', SQLERRM;
END
$$;

DO $$
DECLARE
    creator TEXT;
BEGIN
    -- https://www.postgresql.org/docs/current/sql-createfunction.html#SQL-CREATEFUNCTION-SECURITY
    FOR creator IN
        SELECT 'public' UNION ALL SELECT rolname FROM pg_roles
        WHERE rolname IN ('anon', 'authenticated', 'providerd_daemon', 'providerd_reader')
    LOOP
        IF has_schema_privilege(creator, 'public', 'CREATE') THEN
            RAISE WARNING '% may create objects in the schema public, and so have the owner''s functions call its own',
                creator USING HINT = format('Run REVOKE CREATE ON SCHEMA public FROM %s.', creator);
        END IF;
    END LOOP;
END
$$;

COMMIT;
