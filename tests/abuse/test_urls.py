"""Fault 41: where a key must not be sent, and a key that goes nowhere else than where it was given for."""

import random
from collections.abc import Iterator

import asyncpg
from google.protobuf.json_format import ParseDict

from providerd.v1 import provider_pb2 as pb
from tests.abuse.case import Case, bearer, case
from tests.abuse.judge import complain
from tests.abuse.world import API_KEY, World, provider
from tests.daemon import DAEMON_ROLE, as_role
from tests.hostile_urls import hostile_urls
from tests.integration.sql import connected

KIND = "41 URLs"
MOVED = "41 a key with another destination"
SQL = "41 a key with another destination, by SQL"

_SAMPLE = 600
_PATHS = (
    "x", "//evil.example", "//evil.example/v1", "/\\evil.example", "\\\\evil.example", "@evil.example/", ":443/v1",
    ".evil.example/", "https://evil.example/", "/v1?key={api_key}", "/v1#x", "/v1/../x", "/v1/./x", "/..",
    "/.", "/%2e%2e/x",
    "/%2E/x", "/%2f..", "/%5c", "/%00", "/%0d%0aHost:x", "/\r\nHost: x", "/\n", "/\t", "/ ",
    "/v1 HTTP/1.1\r\nX: y", "/{",
    "/}", "/{}", "/{api_key}", "/{unheard}", "/{model.__class__}", "/{0}", "/{{model}}", "/\0", "/\u202e", "/\u2025/",
    "/" + "a" * 2_001, "/v1//x", "/;/..;/x", "/%", "/%zz", "/%25252e",
)  # fmt: skip
# Public, and so allowed, and yet not where the key was given for.
_ELSEWHERE = (
    "https://evil.example.org", "https://api.example.org", "https://api.example.com:8443", "https://api.example.com:80",
    "https://api.example.com.", "https://api.example.com.evil.example.org", "https://example.com",
    "https://a.api.example.com",
    "https://api-example.com", "https://api.exarnple.com", "https://evil.example.org/api.example.com",
    "https://elsewhere.example.com",
    "https://api.example.co", "https://apiexample.com",
)  # fmt: skip

_UPDATE = "UPDATE llm_provider_configs SET base_url = $1"
_KEYED = "WHERE provider_name = 'keyed'"
_KEY_OF_KEYED = f"(SELECT api_key_encrypted FROM llm_provider_configs {_KEYED})"
_COPY = """
INSERT INTO llm_provider_configs (provider_name, display_name, base_url, endpoint_path_template, default_model,
    request_builder_config, response_extractor_config, api_key_encrypted, api_key_id, api_key_mac)
SELECT 'copy', 'Copy', $1, endpoint_path_template, default_model, request_builder_config, response_extractor_config,
    api_key_encrypted, api_key_id, api_key_mac
FROM llm_provider_configs WHERE provider_name = 'keyed'
"""
_STREAM = """
UPDATE llm_provider_configs SET request_builder_config = request_builder_config
    || jsonb_build_object('stream', jsonb_build_object('endpoint_path_template', regexp_replace($1, '^https:', '')))
WHERE provider_name = 'keyed'
"""
_STEALING = (
    f"{_UPDATE} {_KEYED}",
    f"{_UPDATE}, api_key_encrypted = upper(api_key_encrypted) {_KEYED}",
    f"{_UPDATE}, api_key_mac = NULL, api_key_id = NULL {_KEYED}",
    f"{_UPDATE}, is_active = FALSE, updated_by = 'me' {_KEYED}",
    f"{_UPDATE}, provider_name = 'other' {_KEYED}",
    f"{_UPDATE}, api_key_encrypted = {_KEY_OF_KEYED} WHERE provider_name = 'spare'",
    f"UPDATE llm_provider_configs SET endpoint_path_template = regexp_replace($1, '^https:', '') {_KEYED}",
    _COPY,
    _STREAM,
)


def to_strangers(seed: int) -> Iterator[tuple[str, dict[str, object]]]:
    """Upserts that would lead a key astray."""
    urls = random.Random(seed).sample(hostile_urls(), _SAMPLE)
    for number, url in enumerate(urls):
        # A key along with it is no excuse. Encrypting it takes a while, so not all bring one.
        key = {} if number % 10 else {"new_api_key": "sk-another"}
        yield f"{url!r}", {"provider": provider(("unborn", "spare", "keyed")[number % 3], base_url=url), **key}
    for path in _PATHS:
        yield f"the path {path[:40]!r}", {"provider": provider("unborn", endpoint_path_template=path)}
        yield f"the path {path[:40]!r}", {"provider": provider("keyed", endpoint_path_template=path)}
        config = provider("x")["request_builder_config"] | {"stream": {"endpoint_path_template": path}}
        yield f"the path {path[:40]!r} of streams", {"provider": provider("keyed", request_builder_config=config)}
    for method in (
        "CONNECT",
        "TRACE",
        "get",
        "POST\r\nX: y",
        "POST /",
        "\0",
        "\N{FULLWIDTH LATIN CAPITAL LETTER P}OST",
    ):
        yield f"the method {method!r}", {"provider": provider("keyed", http_method=method)}


async def test_no_key_is_sent_to_strangers(world: World) -> None:
    writer = bearer(world.tokens["writer"])
    cases = []
    for name, fields in to_strangers(41):
        upsert = ParseDict(fields, pb.UpsertProviderRequest())
        cases.append(case(name, "UpsertProvider", "INVALID_ARGUMENT", upsert, metadata=writer))
        if len(cases) % 5 == 0:
            apply = pb.ApplyConfigurationRequest(providers=[upsert.provider])
            cases.append(case(name, "ApplyConfiguration", "INVALID_ARGUMENT", apply, metadata=writer))
    async with world.attacked() as channel:
        await world.judge.try_all(KIND, cases, channel)


def moving(url: str) -> Iterator[tuple[str, str, pb.UpsertProviderRequest | pb.ApplyConfigurationRequest]]:
    """Requests that would take the key along to another destination."""
    moved = ParseDict(provider("keyed", base_url=url), pb.Provider())
    only = pb.Provider(provider_name="keyed", base_url=url)
    yield "whole", "UpsertProvider", pb.UpsertProviderRequest(provider=moved)
    yield "URL only", "UpsertProvider", pb.UpsertProviderRequest(provider=only)
    yield "tried", "UpsertProvider", pb.UpsertProviderRequest(provider=only, validate_only=True)
    masked = pb.UpsertProviderRequest(provider=only, expected_config_version=2)
    masked.update_mask.paths.append("base_url")
    yield "masked", "UpsertProvider", masked
    yield "applied", "ApplyConfiguration", pb.ApplyConfigurationRequest(providers=[moved])
    switching = pb.ApplyConfigurationRequest(providers=[moved], active_provider_name="spare")
    yield "applied, another active", "ApplyConfiguration", switching


async def test_a_key_stays_with_its_destination(world: World) -> None:
    bound = frozenset({"KEY_BOUND_TO_DESTINATION"})

    def refused(name: str, method: str, request: object) -> Case:
        metadata = bearer(world.tokens["admin"])
        return case(name, method, "FAILED_PRECONDITION", request, metadata=metadata, reasons=bound)

    cases = [refused(f"{url}, {name}", method, request) for url in _ELSEWHERE for name, method, request in moving(url)]
    for number in range(20):
        reason = f"number {number}"
        back = pb.RollbackProviderRequest(provider_name="keyed", revision_number=2, reason=reason)
        cases.append(refused(f"rolled back, {reason}", "RollbackProvider", back))
    async with world.attacked() as channel:
        await world.judge.try_all(MOVED, cases, channel)


async def test_nor_does_sql_take_it_anywhere(world: World) -> None:
    wrong = []
    async with world.attacked():
        for role in (None, DAEMON_ROLE):
            async with connected(as_role(world.dsn, role)) as db:
                for url in _ELSEWHERE:
                    for statement in _STEALING:
                        outcome = await state_after(db, statement, url)
                        world.judge.tally.tried(SQL, wrongly_accepted=outcome == "done")
                        if outcome not in ("PD007", "PD008"):
                            wrong.append(f"{role}, {url}: {statement}: {outcome}")
        complain(wrong)
    assert (await world.call("keeper", "GetActiveProvider", include_credential=True)).credential.api_key == API_KEY


async def state_after(db: asyncpg.Connection, statement: str, url: str) -> str:
    """The SQLSTATE that a statement is refused with."""
    try:
        await db.execute(statement, url)
    except asyncpg.PostgresError as error:
        return str(error.sqlstate)
    return "done"
