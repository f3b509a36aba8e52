"""The rules of a provider's content, checked all at once before the database would say its first."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from providerd_server.errors import Violation

NAME_SHAPE = r"[a-z0-9][a-z0-9._-]{0,99}"
NAME_RULE = "must be 1 to 100 lower-case letters, digits, '.', '_' or '-', starting with a letter or digit"

HTTP_METHODS = ("GET", "POST", "PUT", "PATCH")

# Column widths of the schema; the others are TEXT and bounded here so that no row grows without end.
_LONGEST = {
    "display_name": 255,
    "description": 10_000,
    "auth_scheme": 50,
    "auth_header_template": 1_000,
    "base_url": 2_000,
    "endpoint_path_template": 2_000,
    "default_model": 255,
}
_REQUIRED = ("display_name", "base_url", "endpoint_path_template", "default_model")

# Header field names are tokens: RFC 9110, section 5.6.2. Values hold no CR, LF or NUL: section 5.5.
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FORBIDDEN_IN_VALUE = re.compile(r"[\r\n\0]")


def content_violations(content: Mapping[str, Any]) -> list[Violation]:
    """Every rule that ``content``, with the names of the table's content columns, breaks."""
    return [
        *_text(content),
        *_address(content),
        *_headers(content["additional_headers"]),
        *_request_builder(content["request_builder_config"]),
        *_response_extractor(content["response_extractor_config"]),
        *_limits(content),
    ]


def name_violations(provider_name: str, field: str = "provider_name") -> list[Violation]:
    """What is wrong with the name in a request that asks for a provider by name."""
    if not provider_name:
        return [Violation(field, "must be the name of a provider")]
    if len(provider_name) > 100 or not provider_name.isprintable():
        return [Violation(field, NAME_RULE)]
    return []


def text_violations(reason: str, actor: str) -> list[Violation]:
    """What is wrong with the reason and the actor that a write brings for the history."""
    bounds = (("reason", reason, 1000), ("actor", actor, 255))
    return [
        Violation(field, f"must be at most {longest:,} characters and hold no NUL")
        for field, text, longest in bounds
        if len(text) > longest or "\0" in text
    ]


def _text(content: Mapping[str, Any]) -> Iterator[Violation]:
    for name in _REQUIRED:
        if not (content[name] or "").strip():
            yield Violation(f"provider.{name}", "is required")
    for name, longest in _LONGEST.items():
        text = content[name] or ""
        if len(text) > longest:
            yield Violation(f"provider.{name}", f"must be at most {longest:,} characters")
        if "\0" in text:
            yield Violation(f"provider.{name}", "must hold no NUL character")


def _address(content: Mapping[str, Any]) -> Iterator[Violation]:
    url, path = content["base_url"] or "", content["endpoint_path_template"] or ""
    if url:
        yield from _base_url(url)
    if path and not re.fullmatch(r"/\S*", path):
        yield Violation("provider.endpoint_path_template", "must start with '/' and hold no white space")
    if content["http_method"] not in (None, *HTTP_METHODS):
        yield Violation("provider.http_method", f"must be one of {', '.join(HTTP_METHODS)}")


def _base_url(url: str) -> Iterator[Violation]:
    field = "provider.base_url"
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        yield Violation(field, "is not a URL")
        return
    if parts.scheme not in ("http", "https") or not parts.hostname:
        yield Violation(field, "must be http:// or https:// and a host")
    if parts.username is not None or parts.query or parts.fragment:
        yield Violation(field, "must hold no user, query or fragment")
    if re.search(r"\s", url):
        yield Violation(field, "must hold no white space")


def _headers(headers: Mapping[str, Any] | None) -> Iterator[Violation]:
    for name, value in (headers or {}).items():
        field = f"provider.additional_headers.{name[:100]}"
        if not _TOKEN.fullmatch(name):
            yield Violation(field, "is not a header name")
        if not isinstance(value, str) or _FORBIDDEN_IN_VALUE.search(value):
            yield Violation(field, "must be a string without line breaks")


def _request_builder(config: Mapping[str, Any] | None) -> Iterator[Violation]:
    yield from _config(config, "request_builder_config", "payload_structure", ("model", "messages"))


def _response_extractor(config: Mapping[str, Any] | None) -> Iterator[Violation]:
    yield from _config(config, "response_extractor_config", "extraction_rules", ("text_content", "usage_stats"))


def _config(
    config: Mapping[str, Any] | None, column: str, section: str, entries: tuple[str, ...]
) -> Iterator[Violation]:
    field = f"provider.{column}"
    if config is None:
        yield Violation(field, "is required")
        return
    if "version" not in config:
        yield Violation(f"{field}.version", f'{column} must contain "version" field')
    body = config.get(section)
    if not isinstance(body, dict):
        yield Violation(f"{field}.{section}", f'{column} must contain "{section}" object')
        return
    for entry in entries:
        if entry not in body:
            yield Violation(f"{field}.{section}.{entry}", f'{section} must contain "{entry}"')


def _limits(content: Mapping[str, Any]) -> Iterator[Violation]:
    for name in ("context_window_tokens", "max_output_tokens_limit"):
        if content[name] is not None and content[name] <= 0:
            yield Violation(f"provider.{name}", "must be positive")
    for index, model in enumerate(content["supported_models"] or ()):
        if not model.strip() or len(model) > 255:
            yield Violation(f"provider.supported_models[{index}]", "must be 1 to 255 characters")
