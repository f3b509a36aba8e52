"""Where a key may be sent is the same question to the daemon and to the schema, with one answer."""

import json
import random
from pathlib import Path

import pytest

from providerd_server.store.destination import destination, destinations
from tests.integration.sql import connected

CASES: list[dict[str, str]] = json.loads((Path(__file__).parents[1] / "destinations.json").read_text())

_PIECES = [
    *("http", "https", "HTTPS", "ftp", "://", ":/", "//", "/", "\\", "@", ":", "?", "#", ".", "-", "_", " ", "\t"),
    *("h", "H.example", "evil.example", "127.0.0.1", "[::1]", "[fe80::1%25eth0]", "[", "]", "%2e", "%", "\n", "~"),
    *(":443", ":80", ":0443", ":65536", "xn--", "{model}", "user:pass@", "/v1", "/a/b", "..", "é"),
    # What some case folding takes for ASCII: an Arabic digit, a long s, a dotted I, the sign of kelvin.
    *(":\u0661", "\u017f", "\u0130", "\u212a"),
]
_URLS = [f"{scheme}://{host}{port}{path}" for scheme in ("http", "https", "hTTps") for host in ("h", "A.b", "[::1]")
         for port in ("", ":443", ":80", ":8443") for path in ("", "/", "/x/y")]  # fmt: skip
_PATHS = ["/", "/v1", "/v1/{model}:stream", "//h", "/\\h", "v1", "", ".h", "@h", ":8080", "/a b", "/é", "/v1?x=1"]


def generated(count: int) -> list[tuple[str, str]]:
    """URLs and paths: good ones, and some of whatever pieces."""
    chance = random.Random(20261122)

    def some(good: list[str]) -> str:
        whole = chance.choice(good) if chance.random() < 0.7 else ""
        return whole + "".join(chance.choices(_PIECES, k=chance.choice([0, 0, 1, 2, 5])))

    return [(some(_URLS), some(_PATHS)) for _ in range(count)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['base_url']!a} {case['template']!a}")
def test_the_daemon_answers_as_the_table_has_it(case: dict[str, str]) -> None:
    assert destination(case["base_url"], case["template"]) == case["destination"]


async def test_the_schema_and_the_daemon_agree_on_generated_urls(database: str) -> None:
    cases = generated(20_000)
    async with connected(database) as db:
        rows = await db.fetch(
            "SELECT url, path, provider_destination(url, path) AS found"
            " FROM unnest($1::text[], $2::text[]) AS given(url, path)",
            [url for url, _ in cases],
            [path for _, path in cases],
        )
    wrong = [row for row in rows if destination(row["url"], row["path"]) != row["found"]]
    assert wrong == []
    plain = sum(" " not in row["found"] for row in rows)
    assert 1_000 < plain < len(rows) - 1_000


async def test_they_agree_on_streaming_paths(database: str) -> None:
    chance = random.Random(4)
    documents = [{"stream": {"endpoint_path_template": path}} for path in [*_PATHS, None, 5, True, [1, "a"]]]
    documents += [{}, {"stream": {}}, {"stream": None}, {"stream": "/v1"}, {"stream": ["/v1"]}]
    cases = [(url, path, chance.choice(documents)) for url, path in generated(2_000)]
    async with connected(database) as db:
        rows = await db.fetch(
            "SELECT n, provider_destinations(jsonb_populate_record(NULL::llm_provider_configs, given)) AS found"
            " FROM unnest($1::jsonb[]) WITH ORDINALITY AS all_given(given, n) ORDER BY n",
            [
                {"base_url": url, "endpoint_path_template": path, "request_builder_config": document}
                for url, path, document in cases
            ],
        )
    assert [destinations(*case) for case in cases] == [row["found"] for row in rows]
