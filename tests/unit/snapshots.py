"""Small snapshots for tests of what is in memory."""

import datetime
from typing import Any

from providerd_server.snapshot import Revision, Snapshot, StoredProvider

STORE = "00000000-0000-4000-8000-000000000001"
OTHER_STORE = "00000000-0000-4000-8000-000000000002"
WHEN = datetime.datetime(2026, 1, 17, tzinfo=datetime.UTC)


def provider(name: str, **changes: Any) -> StoredProvider:
    values: dict[str, Any] = {
        "id": sum(name.encode()),
        "provider_name": name,
        "display_name": name.title(),
        "description": None,
        "auth_scheme": "bearer",
        "auth_header_template": "Authorization: Bearer {api_key}",
        "base_url": f"https://{name}.example",
        "endpoint_path_template": "/v1/chat",
        "http_method": "POST",
        "additional_headers": None,
        "request_builder_config": {"version": "1.0"},
        "response_extractor_config": {"version": "1.0"},
        "default_model": "m",
        "supported_models": None,
        "model_capabilities": None,
        "context_window_tokens": None,
        "max_output_tokens_limit": None,
        "is_active": False,
        "is_enabled": True,
        "config_version": 1,
        "created_at": WHEN,
        "updated_at": WHEN,
        "updated_by": None,
        "key_fingerprint": None,
    }
    return StoredProvider(**(values | changes))


def snapshot(number: int, active: str | None = "groq", *, store: str = STORE, **changes: Any) -> Snapshot:
    """Providers groq and mistral at a revision; ``changes`` are of the active one."""
    providers = {name: provider(name) for name in ("groq", "mistral")}
    if active is not None:
        providers[active] = provider(active, is_active=True, **changes)
    return Snapshot(Revision(store, number), providers)
