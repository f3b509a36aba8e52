-- The schema of providerd: the provider configurations, their history, and the revision that numbers every change.
-- Needs PostgreSQL 16 or newer. Running it again does no harm. README_MIGRATIONS.md explains it in prose.
--
--   psql -v ON_ERROR_STOP=1 -f 001_create_llm_provider_configs.sql

BEGIN;

-- Everything lives in public, whatever the session's own search_path says.
SET LOCAL search_path = public;

DO $$
BEGIN
    -- Supabase keeps extensions in a schema of their own.
    IF EXISTS (SELECT FROM pg_namespace WHERE nspname = 'extensions') THEN
        CREATE EXTENSION IF NOT EXISTS pgcrypto WITH SCHEMA extensions;
    ELSE
        CREATE EXTENSION IF NOT EXISTS pgcrypto;
    END IF;
END
$$;

---------------------------------------------------------------------------------------------------- tables

CREATE TABLE IF NOT EXISTS llm_provider_configs (
    id SERIAL PRIMARY KEY,
    provider_name VARCHAR(100) NOT NULL UNIQUE,
    display_name VARCHAR(255) NOT NULL,
    description TEXT,

    -- A pgp_sym_encrypt() message in lower-case hex.
    api_key_encrypted TEXT,
    auth_scheme VARCHAR(50) DEFAULT 'bearer',
    auth_header_template TEXT,

    base_url TEXT NOT NULL,
    endpoint_path_template TEXT NOT NULL,
    http_method VARCHAR(10) NOT NULL DEFAULT 'POST',
    additional_headers JSONB,

    request_builder_config JSONB NOT NULL,
    response_extractor_config JSONB NOT NULL,

    default_model VARCHAR(255) NOT NULL,
    supported_models JSONB,
    model_capabilities JSONB,
    context_window_tokens INTEGER,
    max_output_tokens_limit INTEGER,

    is_active BOOLEAN NOT NULL DEFAULT FALSE,
    is_enabled BOOLEAN NOT NULL DEFAULT TRUE,

    config_version INTEGER NOT NULL DEFAULT 1,
    created_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    updated_by VARCHAR(255),

    CONSTRAINT llm_provider_configs_active_is_enabled CHECK (NOT is_active OR is_enabled)
);

CREATE UNIQUE INDEX IF NOT EXISTS llm_provider_configs_one_active
    ON llm_provider_configs (is_active) WHERE is_active;

CREATE TABLE IF NOT EXISTS llm_provider_config_history (
    id SERIAL PRIMARY KEY,
    -- NULL once the provider is deleted; provider_name stays.
    provider_id INTEGER REFERENCES llm_provider_configs (id) ON DELETE SET NULL,
    provider_name VARCHAR(100) NOT NULL,
    revision BIGINT NOT NULL,
    action VARCHAR(50) NOT NULL,
    config_snapshot JSONB NOT NULL,
    reason TEXT,
    changed_by VARCHAR(255),
    db_user TEXT NOT NULL DEFAULT SESSION_USER,
    -- Not NOW(): a transaction that waited for the lock began before the one it waited for.
    changed_at TIMESTAMPTZ NOT NULL DEFAULT CLOCK_TIMESTAMP()
);

CREATE INDEX IF NOT EXISTS llm_provider_config_history_by_revision
    ON llm_provider_config_history (revision, id);
CREATE INDEX IF NOT EXISTS llm_provider_config_history_by_provider
    ON llm_provider_config_history (provider_id, revision);

-- One row. Its lock puts writers in a queue, so that the order of revisions is the order of commits, without gaps.
CREATE TABLE IF NOT EXISTS llm_provider_store (
    only_row BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (only_row),
    store_id UUID NOT NULL DEFAULT gen_random_uuid(),
    revision BIGINT NOT NULL DEFAULT 0,
    changed_at TIMESTAMPTZ NOT NULL DEFAULT CLOCK_TIMESTAMP(),
    -- The transaction that made the revision.
    changed_in XID8
);

INSERT INTO llm_provider_store DEFAULT VALUES ON CONFLICT DO NOTHING;

------------------------------------------------------------------------------------------------- the revision

-- Locks the store until the end of the transaction. Whoever writes calls it first, before any other lock.
CREATE OR REPLACE FUNCTION lock_provider_store() RETURNS TABLE (store_id UUID, revision BIGINT)
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT store.store_id, store.revision FROM llm_provider_store store FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'llm_provider_store has no row' USING HINT = 'Run 001_create_llm_provider_configs.sql again.';
    END IF;
END
$$;

-- Numbers the change at hand: one revision, and one notification, for all that a transaction does.
CREATE OR REPLACE FUNCTION next_provider_revision() RETURNS BIGINT
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    store llm_provider_store;
BEGIN
    -- The time is compared as well: in a restored backup changed_in is a number of another server.
    UPDATE llm_provider_store s
    SET revision = s.revision + 1, changed_at = clock_timestamp(), changed_in = pg_current_xact_id()
    WHERE s.changed_in IS DISTINCT FROM pg_current_xact_id() OR s.changed_at < transaction_timestamp()
    RETURNING s.* INTO store;
    IF FOUND THEN
        PERFORM pg_notify('llm_provider_changes', store.store_id || ':' || store.revision);
    ELSE
        SELECT s.* INTO STRICT store FROM llm_provider_store s;
    END IF;
    RETURN store.revision;
END
$$;

CREATE OR REPLACE FUNCTION queue_provider_writers() RETURNS TRIGGER
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM lock_provider_store();
    RETURN NULL;
END
$$;

------------------------------------------------------------------------------------------------ helpers of rows

-- What config_version counts the changes of. Being active is not content: a switch changes no configuration.
CREATE OR REPLACE FUNCTION provider_content(config llm_provider_configs) RETURNS JSONB
LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    SELECT to_jsonb(config) - ARRAY['is_active', 'config_version', 'created_at', 'updated_at', 'updated_by'];
$$;

-- Tells stored keys apart without revealing anything of them. NULL when there is no key.
CREATE OR REPLACE FUNCTION provider_key_fingerprint(api_key_encrypted TEXT) RETURNS TEXT
LANGUAGE sql IMMUTABLE STRICT SET search_path = public, pg_temp AS $$
    SELECT left(encode(sha256(decode(api_key_encrypted, 'hex')), 'hex'), 16);
$$;

-- Brings a ciphertext to plain lower-case hex. Takes hex, and what assigning a bytea to a text column gives
-- under either bytea_output: https://www.postgresql.org/docs/current/datatype-binary.html. '' means no key.
CREATE OR REPLACE FUNCTION provider_key_hex(ciphertext TEXT) RETURNS TEXT
LANGUAGE plpgsql STABLE STRICT SET search_path = public, pg_temp AS $$
DECLARE
    hex TEXT := CASE
        WHEN ciphertext ~ '^[0-9a-fA-F]*$' THEN lower(ciphertext)
        WHEN pg_input_is_valid(ciphertext, 'bytea') THEN encode(ciphertext::BYTEA, 'hex')
    END;
BEGIN
    IF hex = '' THEN
        RETURN NULL;
    END IF;
    -- RFC 9580, 4.2 and 5.3: a version 4 symmetric-key packet, as pgp_sym_encrypt (c3) and gpg (8c) write it.
    IF hex ~ '^(c3|8c)..04(..)+$' THEN
        RETURN hex;
    END IF;
    -- The value may well be a key in clear: never repeat it.
    RAISE EXCEPTION 'api_key_encrypted must be a message of pgp_sym_encrypt' USING
        ERRCODE = 'PD006', TABLE = 'llm_provider_configs', COLUMN = 'api_key_encrypted',
        HINT = 'Store pgp_sym_encrypt(key, passphrase), never the key itself.';
END
$$;

----------------------------------------------------------------------------------------------------- validation

-- Returns a number in the document that a 64-bit float cannot hold exactly, if there is one: clients read JSON
-- numbers as floats. https://www.postgresql.org/docs/current/datatype-numeric.html#DATATYPE-FLOAT
CREATE OR REPLACE FUNCTION provider_inexact_number(document JSONB) RETURNS TEXT
LANGUAGE sql STABLE SET search_path = public, pg_temp SET extra_float_digits = 1 AS $$
    SELECT number.literal
    FROM jsonb_path_query(document, 'strict $.**') item(value), LATERAL (SELECT item.value #>> '{}') number(literal)
    WHERE CASE
        WHEN jsonb_typeof(item.value) <> 'number' THEN FALSE
        WHEN NOT pg_input_is_valid(number.literal, 'float8') THEN TRUE
        ELSE number.literal::FLOAT8::TEXT::NUMERIC <> number.literal::NUMERIC
    END
    LIMIT 1;
$$;

-- Checks one of the two documents that describe a provider's wire format.
CREATE OR REPLACE FUNCTION provider_document_violations(
    document_name TEXT, document JSONB, section TEXT, members TEXT[]
) RETURNS SETOF TEXT
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    IF jsonb_typeof(document) IS DISTINCT FROM 'object' THEN
        RETURN NEXT format('%s must be a JSON object', document_name);
        RETURN;
    END IF;
    IF NOT document ? 'version' THEN
        RETURN NEXT format('%s must contain "version" field', document_name);
    END IF;
    IF jsonb_typeof(document -> section) IS DISTINCT FROM 'object' THEN
        RETURN NEXT format('%s must contain "%s" object', document_name, section);
        RETURN;
    END IF;
    RETURN QUERY
        SELECT format('%s must contain "%s" in "%s"', document_name, member, section)
        FROM unnest(members) member WHERE NOT document -> section ? member;
END
$$;

-- Returns everything that is wrong with a configuration, in the order of its columns; nothing when it is right.
CREATE OR REPLACE FUNCTION provider_config_violations(config llm_provider_configs)
RETURNS TABLE (column_name TEXT, message TEXT)
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN QUERY
        SELECT field.name, format('%s must not be empty', field.name)
        FROM (VALUES
            ('provider_name', config.provider_name::TEXT), ('display_name', config.display_name),
            ('base_url', config.base_url), ('endpoint_path_template', config.endpoint_path_template),
            ('default_model', config.default_model)
        ) field(name, value)
        WHERE coalesce(field.value, '') !~ '\S';
    RETURN QUERY
        SELECT 'provider_name', 'provider_name must not begin or end with white space'
        WHERE config.provider_name ~ '\S' AND config.provider_name ~ '^\s|\s$';
    RETURN QUERY
        SELECT 'http_method', 'http_method must be GET, POST, PUT or PATCH'
        WHERE config.http_method NOT IN ('GET', 'POST', 'PUT', 'PATCH');
    RETURN QUERY
        SELECT 'additional_headers', 'additional_headers must be a JSON object of strings'
        WHERE jsonb_typeof(config.additional_headers) <> 'object'
           OR jsonb_path_exists(config.additional_headers, 'strict $.* ? (@.type() <> "string")', silent => TRUE);
    RETURN QUERY
        SELECT 'request_builder_config', problem
        FROM provider_document_violations(
            'request_builder_config', config.request_builder_config, 'payload_structure',
            ARRAY['model', 'messages']) problem;
    RETURN QUERY
        SELECT 'response_extractor_config', problem
        FROM provider_document_violations(
            'response_extractor_config', config.response_extractor_config, 'extraction_rules',
            ARRAY['text_content', 'usage_stats']) problem;
    RETURN QUERY
        SELECT 'supported_models', 'supported_models must be a JSON array of strings'
        WHERE jsonb_typeof(config.supported_models) <> 'array'
           OR jsonb_path_exists(config.supported_models, 'strict $[*] ? (@.type() <> "string")', silent => TRUE);
    RETURN QUERY
        SELECT 'model_capabilities', 'model_capabilities must be a JSON object'
        WHERE jsonb_typeof(config.model_capabilities) <> 'object';
    RETURN QUERY
        SELECT field.name, format('%s must be positive', field.name)
        FROM (VALUES
            ('context_window_tokens', config.context_window_tokens),
            ('max_output_tokens_limit', config.max_output_tokens_limit)
        ) field(name, value)
        WHERE field.value <= 0;
    RETURN QUERY
        SELECT field.name, problem.message
        FROM (VALUES
            ('additional_headers', config.additional_headers),
            ('request_builder_config', config.request_builder_config),
            ('response_extractor_config', config.response_extractor_config),
            ('supported_models', config.supported_models),
            ('model_capabilities', config.model_capabilities)
        ) field(name, value),
        LATERAL (VALUES
            (provider_inexact_number(field.value) IS NOT NULL,
             format('%s holds the number %s, which a 64-bit float cannot hold exactly: write it as a string',
                    field.name, left(provider_inexact_number(field.value), 40))),
            (jsonb_path_exists(field.value, 'strict $.**{32} ? (@.type() == "object" || @.type() == "array")'),
             format('%s must not be nested deeper than 32 levels', field.name))
        ) problem(applies, message)
        WHERE problem.applies;
END
$$;

-- Marks an UPDATE that says who makes it, for validate_provider_config(), which sets updated_at in any case. One that
-- does not say so must not be put down to whoever made the change before.
CREATE OR REPLACE FUNCTION note_provider_editor() RETURNS TRIGGER
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    NEW.updated_at := '-infinity';
    RETURN NEW;
END
$$;

CREATE OR REPLACE FUNCTION validate_provider_config() RETURNS TRIGGER
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    violations JSONB;
    content_changed BOOLEAN := TRUE;
    editor_given BOOLEAN := TG_OP = 'INSERT' OR NEW.updated_at = '-infinity';
BEGIN
    NEW.api_key_encrypted := provider_key_hex(NEW.api_key_encrypted);
    IF TG_OP = 'UPDATE' THEN
        content_changed := provider_content(NEW) <> provider_content(OLD);
        -- An UPDATE that changes nothing keeps the row as it was, which tells the audit trigger to stay silent.
        IF NOT content_changed AND NEW.is_active = OLD.is_active THEN
            RETURN OLD;
        END IF;
    END IF;
    IF content_changed THEN
        SELECT jsonb_agg(jsonb_build_object('column', v.column_name, 'message', v.message))
        INTO violations FROM provider_config_violations(NEW) v;
    END IF;
    IF violations IS NOT NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'PD003', MESSAGE = violations #>> '{0,message}', DETAIL = violations::TEXT,
            TABLE = TG_TABLE_NAME, COLUMN = violations #>> '{0,column}';
    END IF;
    NEW.updated_at := clock_timestamp();
    NEW.updated_by := coalesce(
        nullif(current_setting('providerd.actor', TRUE), ''), CASE WHEN editor_given THEN NEW.updated_by END, SESSION_USER);
    IF TG_OP = 'INSERT' THEN
        NEW.created_at := NEW.updated_at;
        NEW.config_version := 1;
    ELSE
        NEW.created_at := OLD.created_at;
        NEW.config_version := OLD.config_version + content_changed::INTEGER;
    END IF;
    RETURN NEW;
END
$$;

--------------------------------------------------------------------------------------- the other triggers' functions

CREATE OR REPLACE FUNCTION ensure_single_active_provider() RETURNS TRIGGER
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    -- BEFORE INSERT also runs for a row that ON CONFLICT is about to turn away: that one must deactivate nobody.
    IF TG_OP = 'INSERT' AND EXISTS (
        SELECT FROM llm_provider_configs c WHERE c.provider_name = NEW.provider_name OR c.id = NEW.id
    ) THEN
        RETURN NEW;
    END IF;
    UPDATE llm_provider_configs SET is_active = FALSE, updated_by = NEW.updated_by WHERE is_active AND id <> NEW.id;
    RETURN NEW;
END
$$;

CREATE OR REPLACE FUNCTION prevent_active_provider_deletion() RETURNS TRIGGER
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'Cannot delete active provider %', OLD.provider_name USING
        ERRCODE = 'PD004', TABLE = TG_TABLE_NAME, COLUMN = 'is_active',
        HINT = 'Switch to another provider first.';
END
$$;

CREATE OR REPLACE FUNCTION refuse_provider_truncate() RETURNS TRIGGER
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'TRUNCATE of % is refused: it would bypass the history', TG_TABLE_NAME USING
        ERRCODE = 'PD005', TABLE = TG_TABLE_NAME, HINT = 'Use DELETE.';
END
$$;

-- Of several changes in one UPDATE the first of this order names the action; the snapshot holds them all.
CREATE OR REPLACE FUNCTION provider_update_action(before llm_provider_configs, after llm_provider_configs)
RETURNS TEXT
LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    SELECT CASE
        WHEN after.is_active AND NOT before.is_active THEN 'activated'
        WHEN before.is_active AND NOT after.is_active THEN 'deactivated'
        WHEN after.is_enabled AND NOT before.is_enabled THEN 'enabled'
        WHEN before.is_enabled AND NOT after.is_enabled THEN 'disabled'
        WHEN after.api_key_encrypted IS DISTINCT FROM before.api_key_encrypted THEN 'key_changed'
        ELSE 'updated'
    END;
$$;

CREATE OR REPLACE FUNCTION log_provider_config_change() RETURNS TRIGGER
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    config llm_provider_configs := coalesce(NEW, OLD);
    actor TEXT := nullif(current_setting('providerd.actor', TRUE), '');
BEGIN
    IF TG_OP = 'UPDATE' AND NEW IS NOT DISTINCT FROM OLD THEN
        RETURN NULL;
    END IF;
    INSERT INTO llm_provider_config_history
        (provider_id, provider_name, revision, action, config_snapshot, reason, changed_by)
    VALUES (
        -- A deleted row can no longer be referenced.
        CASE WHEN TG_OP <> 'DELETE' THEN config.id END,
        config.provider_name,
        next_provider_revision(),
        CASE TG_OP WHEN 'INSERT' THEN 'created' WHEN 'DELETE' THEN 'deleted' ELSE provider_update_action(OLD, NEW) END,
        to_jsonb(config) - 'api_key_encrypted'
            || jsonb_build_object('key_fingerprint', provider_key_fingerprint(config.api_key_encrypted)),
        nullif(current_setting('providerd.reason', TRUE), ''),
        -- A deletion says nothing of who does it, and updated_by is somebody else's.
        coalesce(actor, CASE WHEN TG_OP <> 'DELETE' THEN config.updated_by END, SESSION_USER)
    );
    RETURN NULL;
END
$$;

------------------------------------------------------------------------------------------------------- triggers

CREATE OR REPLACE TRIGGER trg_lock_provider_store
    BEFORE INSERT OR UPDATE OR DELETE ON llm_provider_configs
    FOR EACH STATEMENT EXECUTE FUNCTION queue_provider_writers();
CREATE OR REPLACE TRIGGER trg_ensure_single_active_provider
    BEFORE INSERT OR UPDATE ON llm_provider_configs
    FOR EACH ROW WHEN (NEW.is_active) EXECUTE FUNCTION ensure_single_active_provider();
CREATE OR REPLACE TRIGGER trg_prevent_active_provider_deletion
    BEFORE DELETE ON llm_provider_configs
    FOR EACH ROW WHEN (OLD.is_active) EXECUTE FUNCTION prevent_active_provider_deletion();
-- Triggers fire in the order of their names, so this one comes before the validation.
CREATE OR REPLACE TRIGGER trg_note_provider_editor
    BEFORE UPDATE OF updated_by ON llm_provider_configs
    FOR EACH ROW EXECUTE FUNCTION note_provider_editor();
CREATE OR REPLACE TRIGGER trg_validate_provider_config
    BEFORE INSERT OR UPDATE ON llm_provider_configs
    FOR EACH ROW EXECUTE FUNCTION validate_provider_config();
CREATE OR REPLACE TRIGGER trg_log_provider_config_change
    AFTER INSERT OR UPDATE OR DELETE ON llm_provider_configs
    FOR EACH ROW EXECUTE FUNCTION log_provider_config_change();
CREATE OR REPLACE TRIGGER trg_refuse_provider_truncate
    BEFORE TRUNCATE ON llm_provider_configs
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_provider_truncate();
CREATE OR REPLACE TRIGGER trg_refuse_provider_truncate
    BEFORE TRUNCATE ON llm_provider_config_history
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_provider_truncate();
CREATE OR REPLACE TRIGGER trg_refuse_provider_truncate
    BEFORE TRUNCATE ON llm_provider_store
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_provider_truncate();

-- ALWAYS: session_replication_role = replica silences ordinary triggers.
ALTER TABLE llm_provider_configs
    ENABLE ALWAYS TRIGGER trg_lock_provider_store,
    ENABLE ALWAYS TRIGGER trg_ensure_single_active_provider,
    ENABLE ALWAYS TRIGGER trg_prevent_active_provider_deletion,
    ENABLE ALWAYS TRIGGER trg_note_provider_editor,
    ENABLE ALWAYS TRIGGER trg_validate_provider_config,
    ENABLE ALWAYS TRIGGER trg_log_provider_config_change,
    ENABLE ALWAYS TRIGGER trg_refuse_provider_truncate;
ALTER TABLE llm_provider_config_history ENABLE ALWAYS TRIGGER trg_refuse_provider_truncate;
ALTER TABLE llm_provider_store ENABLE ALWAYS TRIGGER trg_refuse_provider_truncate;

-------------------------------------------------------------------------------------------- functions for operators

-- Returns the active provider without its key, or no row when none is active.
CREATE OR REPLACE FUNCTION get_active_provider()
RETURNS TABLE (
    id INTEGER, provider_name VARCHAR, display_name VARCHAR, description TEXT,
    auth_scheme VARCHAR, auth_header_template TEXT, has_api_key BOOLEAN,
    base_url TEXT, endpoint_path_template TEXT, http_method VARCHAR, additional_headers JSONB,
    request_builder_config JSONB, response_extractor_config JSONB,
    default_model VARCHAR, supported_models JSONB, model_capabilities JSONB,
    context_window_tokens INTEGER, max_output_tokens_limit INTEGER,
    config_version INTEGER, updated_at TIMESTAMPTZ, updated_by VARCHAR
)
LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    SELECT c.id, c.provider_name, c.display_name, c.description,
           c.auth_scheme, c.auth_header_template, c.api_key_encrypted IS NOT NULL,
           c.base_url, c.endpoint_path_template, c.http_method, c.additional_headers,
           c.request_builder_config, c.response_extractor_config,
           c.default_model, c.supported_models, c.model_capabilities,
           c.context_window_tokens, c.max_output_tokens_limit,
           c.config_version, c.updated_at, c.updated_by
    FROM llm_provider_configs c WHERE c.is_active;
$$;

-- Makes a provider the active one. Returns whether that changed anything.
-- Raises PD001 for an unknown name and PD002 for a disabled provider.
CREATE OR REPLACE FUNCTION switch_active_provider(target_name TEXT, switched_by TEXT DEFAULT NULL) RETURNS BOOLEAN
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    target llm_provider_configs;
BEGIN
    PERFORM lock_provider_store();
    SELECT c.* INTO target FROM llm_provider_configs c WHERE c.provider_name = target_name;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'Provider % not found', target_name USING
            ERRCODE = 'PD001', TABLE = 'llm_provider_configs', COLUMN = 'provider_name';
    ELSIF target.is_active THEN
        RETURN FALSE;
    ELSIF NOT target.is_enabled THEN
        RAISE EXCEPTION 'Provider % is disabled', target_name USING
            ERRCODE = 'PD002', TABLE = 'llm_provider_configs', COLUMN = 'is_enabled',
            HINT = 'Enable it first: UPDATE llm_provider_configs SET is_enabled = TRUE WHERE provider_name = ...';
    END IF;
    UPDATE llm_provider_configs SET is_active = TRUE, updated_by = switched_by WHERE id = target.id;
    RETURN TRUE;
END
$$;

------------------------------------------------------------------------------------------------------ privileges

-- The owner is not bound by row security; everybody else sees nothing until a policy says so.
ALTER TABLE llm_provider_configs ENABLE ROW LEVEL SECURITY;
ALTER TABLE llm_provider_config_history ENABLE ROW LEVEL SECURITY;
ALTER TABLE llm_provider_store ENABLE ROW LEVEL SECURITY;

DO $$
DECLARE
    grantee TEXT;
BEGIN
    -- Supabase serves the public schema to anon and authenticated, and grants them new objects by default.
    FOR grantee IN
        SELECT 'PUBLIC' UNION ALL SELECT rolname FROM pg_roles WHERE rolname IN ('anon', 'authenticated')
    LOOP
        EXECUTE 'REVOKE ALL ON llm_provider_configs, llm_provider_config_history, llm_provider_store, '
            'llm_provider_configs_id_seq, llm_provider_config_history_id_seq FROM ' || grantee;
        EXECUTE 'REVOKE ALL ON FUNCTION lock_provider_store, next_provider_revision, queue_provider_writers, '
            'provider_content, provider_key_fingerprint, provider_key_hex, provider_inexact_number, '
            'provider_document_violations, provider_config_violations, validate_provider_config, note_provider_editor, '
            'ensure_single_active_provider, prevent_active_provider_deletion, refuse_provider_truncate, '
            'provider_update_action, log_provider_config_change, get_active_provider, switch_active_provider '
            'FROM ' || grantee;
    END LOOP;
END
$$;

COMMIT;
