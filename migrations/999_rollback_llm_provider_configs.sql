-- Removes everything the migrations made, ALL PROVIDERS, KEYS AND HISTORY INCLUDED, and the
-- ledger of applied migrations. pgcrypto stays: others may use it. Running it again does no harm.
--
--   psql -v ON_ERROR_STOP=1 -f 999_rollback_llm_provider_configs.sql

BEGIN;

SET LOCAL search_path = public;

-- These take rows of the table, which therefore cannot go before them.
DROP FUNCTION IF EXISTS provider_update_action(llm_provider_configs, llm_provider_configs);
DROP FUNCTION IF EXISTS refuse_provider_request(llm_provider_configs, llm_provider_configs);
DROP FUNCTION IF EXISTS provider_request_violations(llm_provider_configs);
DROP FUNCTION IF EXISTS provider_config_violations(llm_provider_configs);
DROP FUNCTION IF EXISTS provider_content(llm_provider_configs);
DROP FUNCTION IF EXISTS provider_destinations(llm_provider_configs);

DROP TABLE IF EXISTS
    llm_provider_config_history, llm_provider_configs, llm_provider_store, llm_provider_key_bindings,
    providerd_migrations;

DROP FUNCTION IF EXISTS
    trim_provider_snapshot(),
    vet_provider_key(),
    provider_members(JSONB),
    provider_header_fits(TEXT, TEXT),
    provider_key_mark(TEXT),
    provider_destination(TEXT, TEXT),
    prune_provider_history(TIMESTAMPTZ, INTEGER),
    switch_active_provider(TEXT, TEXT),
    get_active_provider(),
    log_provider_config_change(),
    refuse_provider_truncate(),
    prevent_active_provider_deletion(),
    ensure_single_active_provider(),
    validate_provider_config(),
    note_provider_editor(),
    provider_document_violations(TEXT, JSONB, TEXT, TEXT[]),
    provider_inexact_number(JSONB),
    provider_key_hex(TEXT),
    provider_key_fingerprint(TEXT),
    queue_provider_writers(),
    next_provider_revision(),
    lock_provider_store();

COMMIT;
