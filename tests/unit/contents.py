"""A provider's content that breaks no rule, and variations of it."""

import copy
import re
from typing import Any

ABSENT: Any = object()

CONTENT: dict[str, Any] = {
    "display_name": "Mistral",
    "description": None,
    "auth_scheme": "bearer",
    "auth_header_template": "X-Api-Key: Token {api_key}",
    "base_url": "https://api.mistral.ai",
    "endpoint_path_template": "/v1/{model}/chat",
    "http_method": "POST",
    "additional_headers": {"Content-Type": "application/json"},
    "request_builder_config": {
        "version": "1.0",
        "payload_structure": {
            "model": {"source": "param:model_name", "required": True, "in": "path"},
            "messages": {"source": "param:messages", "required": True},
            "temperature": {"source": "param:temperature", "target": "options.temperature", "min": 0, "max": 2},
            "title": {"source": "param:title", "in": "header", "target": "X-Title"},
            "api_version": {"source": "const", "value": "v1", "in": "query", "target": "api-version"},
            "window": {"source": "config:context_window_tokens"},
        },
        "model_overrides": {"o[0-9]*": {"drop": ["temperature"], "rename": {"window": "context"}}},
        "stream": {"payload": {"stream": True}, "query": {"alt": "sse"}, "endpoint_path_template": "/v1/{model}/sse"},
    },
    "response_extractor_config": {
        "version": "1.0",
        "extraction_rules": {
            "text_content": {"type": "string", "paths": ["$.choices[0].text"], "join": ""},
            "usage_stats": {"type": "object", "fields": {"output_tokens": {"sum": ["a", "b"]}}},
            "finish_reason": {"paths": ["reason"], "map": {"END": "stop"}},
            "tool_calls": {"type": "array", "paths": ["calls"], "fields": {"id": {"type": "string", "paths": ["id"]}}},
            "stream": {"done": "[DONE]", "text_content": {"paths": ["delta"]}},
        },
    },
    "default_model": "large",
    "supported_models": ["large", "small"],
    "model_capabilities": {"tools": True},
    "context_window_tokens": 128_000,
    "max_output_tokens_limit": 128_000,
    "is_enabled": True,
}


def changed(place: str, value: Any) -> dict[str, Any]:
    """The content with one value, at a path of keys separated by slashes, replaced or ABSENT."""
    content = copy.deepcopy(CONTENT)
    *above, last = [int(step) if step.isdecimal() else step for step in place.split("/")]
    holder: Any = content
    for step in above:
        holder = holder[step]
    if value is ABSENT:
        del holder[last]
    else:
        holder[last] = value
    return content


def field(place: str) -> str:
    """What a violation calls the place."""
    return "provider." + re.sub(r"/(\d+)(?=/|$)", r"[\1]", place).replace("/", ".")
