"""The commands that read: get, list, show."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeVar

import click

from providerd.cli import output
from providerd.cli.failures import ExitCode, Failure, warn
from providerd.cli.options import at_option, connection_options, example, json_option, name_argument
from providerd.cli.session import Session, pass_session

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from providerd.client import Client
    from providerd.provider import ActiveProvider, Provider, SourceStatus

T = TypeVar("T")

_DOCUMENTS = ("model_capabilities", "request_builder_config", "response_extractor_config")


@click.command(epilog=example("providerd get", "providerd get --json | jq -r .provider.default_model"))
@click.option("--credential", is_flag=True, help="Show the API key, too: on the daemon's own machine, or over TLS.")
@json_option
@connection_options
@pass_session
def get(session: Session, *, credential: bool, as_json: bool) -> None:
    """Show the active provider."""
    active = _read(session, lambda client: client.get_active(include_credential=credential))
    provider = active.provider
    if credential and active.credential is None:
        name = provider.provider_name
        raise Failure(
            f"the active provider {name!r} has no key: set one with `providerd set-key {name}` [PROVIDER_HAS_NO_KEY]",
            ExitCode.NOT_FOUND,
        )
    if as_json:
        output.print_json(_active_json(active))
        return
    output.print_pairs(
        [
            ("provider", output.full_name(provider)),
            ("model", provider.default_model),
            ("url", provider.base_url + provider.endpoint_path_template),
            ("key", active.credential.api_key if active.credential else _key(provider)),
            ("revision", str(active.revision.number)),
        ]
    )


@click.command("list", epilog=example("providerd list", "providerd list --json | jq -r '.[].provider_name'"))
@at_option
@json_option
@connection_options
@pass_session
def list_(session: Session, *, at: int | None, as_json: bool) -> None:
    """List all providers."""
    if at is None:
        providers = _read(session, lambda client: client.list())
    else:
        providers = list(session.call(lambda client: client.revision_at(at)).providers)
    if as_json:
        output.print_json([output.provider_json(provider) for provider in providers])
        return
    output.print_table(
        ["name", "state", "key", "model", "url"],
        [
            (each.provider_name, output.state(each), "yes" if each.has_key else "no", each.default_model, each.base_url)
            for each in providers
        ],
    )


@click.command(
    epilog=example("providerd show groq", "providerd show groq --json > groq.json", "providerd show groq --at 7")
)
@name_argument
@at_option
@json_option
@connection_options
@pass_session
def show(session: Session, *, name: str, at: int | None, as_json: bool) -> None:
    """Show everything about one provider but its key.

    With --json it prints what `providerd upsert -f` takes.
    """
    provider = _read(session, lambda client: client.get(name)) if at is None else _then(session, name, at)
    fields = output.provider_json(provider)
    if as_json:
        output.print_json(fields)
        return
    output.print_pairs((name, value) for name, value in _details(provider) if value)
    for document in _DOCUMENTS:
        if document in fields:
            click.echo(f"\n{document}\n{json.dumps(fields[document], indent=2)}")


def _read(session: Session, ask: Callable[[Client], Awaitable[T]]) -> T:
    """Returns an answer that the daemon gives from memory; warns when it says that it may be out of date."""

    async def both(client: Client) -> tuple[T, SourceStatus | None]:
        return await ask(client), client.source

    answer, source = session.call(both)
    if source is not None and source.stale:
        warn(f"from memory, because the daemon last reached its database {source.age:.0f} s ago", "STALE")
    return answer


def _then(session: Session, name: str, number: int) -> Provider:
    """Returns a provider as it was at a revision."""
    for provider in session.call(lambda client: client.revision_at(number)).providers:
        if provider.provider_name == name:
            return provider
    raise Failure(f"there was no provider {name!r} at revision {number} [PROVIDER_NOT_FOUND]", ExitCode.NOT_FOUND)


def _active_json(active: ActiveProvider) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "provider": output.provider_json(active.provider),
        "revision": output.revision_json(active.revision),
    }
    if active.credential is not None:
        fields["credential"] = {"api_key": active.credential.api_key}
    return fields


def _details(provider: Provider) -> list[tuple[str, str]]:
    fields = output.provider_json(provider)
    return [
        ("provider", output.full_name(provider)),
        ("description", provider.description),
        ("state", output.state(provider)),
        ("key", _key(provider)),
        ("auth", ", ".join(filter(None, (provider.auth_scheme, provider.auth_header_template)))),
        ("url", f"{provider.http_method} {provider.base_url}{provider.endpoint_path_template}"),
        ("headers", json.dumps(fields["additional_headers"]) if "additional_headers" in fields else ""),
        ("model", provider.default_model),
        ("models", ", ".join(provider.supported_models)),
        ("context window", _tokens(provider.context_window_tokens)),
        ("output limit", _tokens(provider.max_output_tokens_limit)),
        ("config version", str(provider.config_version)),
        ("created", fields.get("create_time", "")),
        ("updated", f"{fields.get('update_time', '')} by {provider.updated_by or 'nobody named'}"),
    ]


def _key(provider: Provider) -> str:
    return f"stored, fingerprint {provider.key_fingerprint}" if provider.has_key else "none"


def _tokens(limit: int | None) -> str:
    return "" if limit is None else f"{limit:,} tokens"
