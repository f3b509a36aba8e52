"""No request is led elsewhere by its headers, and no key goes out in clear: not by SQL either."""

import json
from typing import Any

import pytest

from providerd_server.validation import headers
from tests.daemon import DAEMON_ROLE, as_role
from tests.integration.keyed import past_the_triggers
from tests.integration.sql import REQUEST, connected, insert_provider, refused
from tests.integration.test_schema_bindings import change, keyed, sealed

PATTERNS = {"name": headers.NAME, "value": headers.VALUE, "reserved": headers.RESERVED, "exposed": headers.EXPOSED}
# What a pattern could be read in two ways for, and what each of them is about.
TEXTS = (
    "", " ", "x", "X-A", "x y", "x\n", "\nx", "host\n", "a:b", "(a)", "é", "ho\u017ft", "Kost", "İ", "a\tb", "\ta",
    "a\x7f", "a\r\nb", "a\x0bb", "\u2028",
    "~!#$%&'*+-.^_`|", "v" * 5_000, "Host", "HOST", "ghost", "hosts", "te", "Via",
    "proxy", "Proxy-X", "proxyx", "X-Forwarded", "x-forwarded-host", "X-Real-IP", "X-Host", "X-Original-URL",
    "X-Rewrite-Url",
    "X-HTTP-Method", "X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Host-Override", "Referer", "HTTP-Referer",
    "Cookie", "Set-Cookie2", "Origin", "User-Agent", "Accept", "Accept-Language", "Acceptable", "Content-Type", "Sec-X",
    "If-Match", "Range", "Date", "From", "x-api-key", "Authorization", "traceparent",
)  # fmt: skip

TEMPLATE = 'auth_header_template must be a header name, ":" and a value of ASCII characters without line breaks'
TEMPLATE_RESERVED = "auth_header_template must not name a header that HTTP clients and proxies set themselves"
TEMPLATE_EXPOSED = (
    "auth_header_template must not name a header such as Referer or Cookie, which servers log and pass on"
)
NAMES = "{} must name headers by tokens: letters, digits and !#$%&'*+-.^_`|~"
VALUES = "{} must give headers values of ASCII characters without line breaks or surrounding white space"
RESERVED = "{} must not set {}: HTTP clients and proxies say it themselves"
CARRIES = "{} must not set {}: auth_header_template carries the key"
CLEAR = "base_url must be https:// and a host for a key to be sent there, or http:// and loopback"


def entry(*, rename: Any = None, **rules: Any) -> dict[str, Any]:
    """A request with one more entry, called Extra, and another target for it for some models."""
    structure = {**REQUEST["payload_structure"], "Extra": {"source": "param:extra", "in": "header", **rules}}
    overrides = {} if rename is None else {"model_overrides": {"odd": 7, "none": {}, "gpt-*": {"rename": rename}}}
    return {"request_builder_config": {**REQUEST, "payload_structure": structure, **overrides}}


HOSTILE: list[tuple[dict[str, Any], str]] = [
    ({"auth_header_template": "X: {api_key}\r\nHost: evil.example"}, TEMPLATE),
    ({"auth_header_template": "X: {api_key}\n"}, TEMPLATE),
    ({"auth_header_template": "X:\t{api_key}"}, TEMPLATE),
    ({"auth_header_template": "X:  {api_key}"}, TEMPLATE),
    ({"auth_header_template": "X {api_key}"}, TEMPLATE),
    ({"auth_header_template": "X\r\nHost: {api_key}"}, TEMPLATE),
    ({"auth_header_template": "X : {api_key}"}, TEMPLATE),
    ({"auth_header_template": "Host: {api_key}"}, TEMPLATE_RESERVED),
    ({"auth_header_template": "x-original-url: {api_key}"}, TEMPLATE_RESERVED),
    ({"auth_header_template": "REFERER: {api_key}"}, TEMPLATE_EXPOSED),
    ({"auth_header_template": "Cookie: session={api_key}"}, TEMPLATE_EXPOSED),
    ({"additional_headers": {"Host": "evil.example"}}, RESERVED.format("additional_headers", "Host")),
    ({"additional_headers": {"X": "1", "hOST": "evil"}}, RESERVED.format("additional_headers", "hOST")),
    ({"additional_headers": {"X-Rewrite-URL": "/"}}, RESERVED.format("additional_headers", "X-Rewrite-URL")),
    ({"additional_headers": {"Authorization": "x"}}, CARRIES.format("additional_headers", "Authorization")),
    (
        {"additional_headers": {"x-key": "x"}, "auth_header_template": "X-Key: {api_key}"},
        CARRIES.format("additional_headers", "x-key"),
    ),
    ({"additional_headers": {"X\r\nHost": "evil"}}, NAMES.format("additional_headers")),
    ({"additional_headers": {"X Y": "v"}}, NAMES.format("additional_headers")),
    ({"additional_headers": {"": "v"}}, NAMES.format("additional_headers")),
    ({"additional_headers": {"X": "v\r\nHost: evil"}}, VALUES.format("additional_headers")),
    ({"additional_headers": {"X": "v\u010a"}}, VALUES.format("additional_headers")),
    ({"additional_headers": {"X": "\u0007"}}, VALUES.format("additional_headers")),
    (entry(target="Host"), RESERVED.format("request_builder_config", "Host")),
    (entry(target="X\r\nHost"), NAMES.format("request_builder_config")),
    (entry(source="const", value="v\r\nHost: evil"), VALUES.format("request_builder_config")),
    (entry(default="\n"), VALUES.format("request_builder_config")),
    (entry(rename={"Extra": "X-Method-Override"}), RESERVED.format("request_builder_config", "X-Method-Override")),
    (entry(rename={"Extra": "X\nHost"}), NAMES.format("request_builder_config")),
]  # fmt: skip


@pytest.mark.parametrize("kind", PATTERNS)
async def test_the_daemon_and_the_schema_have_the_same_patterns(database: str, kind: str) -> None:
    async with connected(database) as db:
        source = await db.fetchval("SELECT prosrc FROM pg_proc WHERE proname = 'provider_header_fits'")
        found = {text: await db.fetchval("SELECT provider_header_fits($1, $2)", kind, text) for text in TEXTS}
    # Literals that follow each other on lines of their own are one: what the tables below do not try is equal as well.
    literal = source.partition(f"WHEN '{kind}' THEN '")[2].partition("\n        WHEN")[0].partition("\n    END")[0]
    assert "".join(part.strip().strip("'") for part in literal.split("\n")).replace("''", "'") == PATTERNS[kind].pattern
    assert found == {text: PATTERNS[kind].fullmatch(text) is not None for text in TEXTS}
    assert {True, False} == set(found.values())


@pytest.mark.parametrize(("columns", "message"), HOSTILE, ids=str)
@pytest.mark.parametrize("has_key", [False, True])
async def test_a_request_that_leads_elsewhere_is_refused(
    database: str, columns: dict[str, Any], message: str, has_key: bool
) -> None:
    async with connected(database) as db:
        with refused("PD003", message) as caught:
            await insert_provider(db, "new", **columns)
        assert caught.value.table_name == "llm_provider_configs"
        assert {"column": caught.value.column_name, "message": message} in json.loads(caught.value.detail)
        await (keyed if has_key else insert_provider)(db)
        with refused("PD003", message):
            await change(db, **columns)
        # With the key given in the same statement it is no better.
        with refused("PD003", message):
            await change(db, **columns, api_key_encrypted=await sealed(db))


@pytest.mark.parametrize(
    "columns",
    [
        {"auth_header_template": ""},
        {"auth_header_template": "x-api-key:{api_key}"},
        {"auth_header_template": "Ocp-Apim-Subscription-Key: {api_key}"},
        {"additional_headers": {}},
        {
            "additional_headers": {
                "Content-Type": "application/json",
                "HTTP-Referer": "https://app.example",
                "X": "a\tb",
            }
        },
        entry(target="X-Title", default="fleet"),
        entry(value=["Host"]),
        entry(**{"in": "body", "target": "host"}),
        entry(**{"in": "query", "target": "host", "default": "a\nb"}),
        entry(rename={"messages": "host"}),
        entry(rename=["Extra"]),
    ],
    ids=str,
)
async def test_what_leads_nowhere_else_is_stored(database: str, columns: dict[str, Any]) -> None:
    async with connected(database) as db:
        await insert_provider(db, "new", **columns)
        await keyed(db)
        await change(db, **columns, api_key_encrypted=await sealed(db))


async def test_the_seeds_have_nothing_to_mend(database: str) -> None:
    async with connected(database) as db:
        found = "SELECT count(*) FROM llm_provider_configs c, provider_request_violations(c)"
        assert await db.fetchval(found) == 0
        await db.execute("UPDATE llm_provider_configs SET api_key_encrypted = pgp_sym_encrypt(provider_name, 'p')")
        assert await db.fetchval(found) == 0


async def test_all_of_it_is_told_at_once(database: str) -> None:
    async with connected(database) as db:
        with refused("PD003", TEMPLATE) as caught:
            await keyed(
                db,
                auth_header_template="X",
                base_url="http://api.example.com",
                additional_headers={"Host": "a", "X Y": "b\n"},
                **entry(target="Via"),
            )
    assert [(each["column"], each["message"]) for each in json.loads(caught.value.detail)] == [
        ("auth_header_template", TEMPLATE),
        ("base_url", CLEAR),
        ("additional_headers", VALUES.format("additional_headers")),
        ("additional_headers", NAMES.format("additional_headers")),
        ("additional_headers", RESERVED.format("additional_headers", "Host")),
        ("request_builder_config", RESERVED.format("request_builder_config", "Via")),
    ]


async def test_what_was_stored_before_holds_up_no_other_change_but_gets_no_key(database: str) -> None:
    async with connected(database) as db:
        await keyed(db)
        await insert_provider(db, "bare")
        bad = {"Host": "evil.example"}
        await past_the_triggers(db, f"UPDATE llm_provider_configs SET additional_headers = '{json.dumps(bad)}'")
        for name in ("mine", "bare"):
            await change(db, name, display_name="Other", base_url="https://api.example.com/v2", additional_headers=bad)
            await change(db, name, **entry(target="X-Title"))
            await db.execute("SELECT switch_active_provider($1)", name)
            with refused("PD003", RESERVED.format("additional_headers", "Host")):
                await change(db, name, api_key_encrypted=await sealed(db))
            with refused("PD003", RESERVED.format("additional_headers", "Host")):
                await change(db, name, additional_headers={**bad, "X": "1"})
            await change(db, name, additional_headers={"X": "1"}, api_key_encrypted=await sealed(db))
        await past_the_triggers(db, f"UPDATE llm_provider_configs SET additional_headers = '{json.dumps(bad)}'")
        await change(db, api_key_encrypted=None)


async def test_the_key_takes_no_header_that_is_set_already(database: str) -> None:
    async with connected(database) as db:
        await insert_provider(db, additional_headers={"X-Key": "1"})
        with refused("PD003", CARRIES.format("additional_headers", "X-Key")):
            await change(db, auth_header_template="x-key: {api_key}")


@pytest.mark.parametrize(
    "url",
    [
        "http://api.example.com",
        "http://169.254.169.254",
        "http://10.0.0.1",
        "http://localhost.evil.example",
        "http://localhost@evil.example",
        "http://evil.example/localhost:80",
        "http://127.0.0.1.evil.example",
        "http://127.0.0.1@evil.example:80",
        "http://[::2]:80",
        "ftp://api.example.com",
        "https://",
        "https:///v1",
        "https://\\evil.example",
        "api.example.com",
    ],
)
async def test_no_key_goes_out_in_clear(database: str, url: str) -> None:
    async with connected(database) as db:
        with refused("PD003", CLEAR) as caught:
            await keyed(db, base_url=url)
        assert caught.value.column_name == "base_url"
        await insert_provider(db, base_url=url)
        with refused("PD003", CLEAR):
            await change(db, api_key_encrypted=await sealed(db))
        await change(db, base_url="https://api.example.com", api_key_encrypted=await sealed(db))
        with refused("PD003", CLEAR):
            await change(db, base_url=url)


@pytest.mark.parametrize(
    "url",
    [
        "HTTPS://api.example.com",
        "https://vllm.internal:8000/v1",
        "https://10.1.2.3",
        "https://[fd00::1]",
        "http://localhost:11434",
        "http://llm.LOCALHOST",
        "http://127.0.0.1:8000/v1",
        "http://127.1.2.3",
        "http://[::1]:8000",
    ],
)
async def test_a_key_goes_out_over_tls_or_stays_on_the_machine(database: str, url: str) -> None:
    async with connected(database) as db:
        await keyed(db, base_url=url)


async def test_a_key_from_before_that_goes_out_in_clear_holds_up_no_other_change(database: str) -> None:
    async with connected(database) as db:
        await keyed(db)
        await past_the_triggers(
            db, "UPDATE llm_provider_configs SET base_url = 'http://old' WHERE provider_name = 'mine'"
        )
        await change(db, display_name="Other")
        await db.execute("SELECT switch_active_provider('mine')")
        with refused("PD003", CLEAR):
            await change(db, base_url="http://old/v2")
        with refused("PD003", CLEAR):
            await change(db, api_key_encrypted=await sealed(db))
        await change(db, base_url="https://old", api_key_encrypted=await sealed(db))


async def test_temporary_functions_do_not_stand_in_for_the_rules(database: str) -> None:
    async with connected(as_role(database, DAEMON_ROLE)) as db:
        await db.execute("""
            CREATE FUNCTION pg_temp.provider_request_violations(llm_provider_configs)
                RETURNS TABLE (column_name TEXT, message TEXT) LANGUAGE sql AS 'SELECT NULL, NULL WHERE FALSE'
        """)
        with refused("PD003"):
            await insert_provider(db, additional_headers={"Host": "evil.example"})
