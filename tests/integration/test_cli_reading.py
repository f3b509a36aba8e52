"""get, list, show and status against a real daemon."""

import json
import subprocess
from collections.abc import Iterator

import pytest

from providerd_server.embedded import EmbeddedPostgres
from tests.cli import Cli, cli_with_daemon, environment, providerd
from tests.conftest import Psql
from tests.daemon import PROVIDERD


@pytest.fixture(scope="module")
def cli(cluster: EmbeddedPostgres, psql: Psql, template: str) -> Iterator[Cli]:
    with cli_with_daemon(cluster, psql, template) as cli:
        yield cli


def test_get_tells_people_how_to_call_the_active_provider(cli: Cli) -> None:
    shown = cli("get")
    assert shown.returncode == 0
    assert shown.stderr == ""
    assert [line.split(maxsplit=1) for line in shown.stdout.splitlines()] == [
        ["provider", "groq (Groq)"],
        ["model", "openai/gpt-oss-120b"],
        ["url", "https://api.groq.com/openai/v1/responses"],
        ["key", "none"],
        ["revision", cli.sql("SELECT revision FROM llm_provider_store")],
    ]


def test_get_tells_programs_the_provider_and_the_revision(cli: Cli) -> None:
    answer = cli.json("get")
    assert set(answer) == {"provider", "revision"}
    assert answer["provider"] == cli.json("show", "groq")
    store, number = cli.sql("SELECT store_id, revision FROM llm_provider_store").split("|")
    assert answer["revision"] == {"store_id": store, "number": int(number)}


def test_the_address_may_stand_before_or_behind_the_command(cli: Cli) -> None:
    address = cli.daemon.address
    before, behind = providerd("--server", address, "get"), providerd("get", "--server", address)
    assert before.returncode == behind.returncode == 0
    assert before.stdout == behind.stdout != ""


def test_list_is_one_uncut_line_a_provider_when_piped(cli: Cli) -> None:
    long = cli.create("long", display_name="L", default_model="m" * 120, base_url=f"https://{'h' * 60}.example")
    header, *lines = cli("list").stdout.splitlines()
    assert header.split() == ["name", "state", "key", "model", "url"]
    assert [line.split()[0] for line in lines] == ["chatgpt", "google_ai", "groq", long, "openrouter"]
    assert lines[3].split() == [long, "enabled", "no", "m" * 120, f"https://{'h' * 60}.example"]
    assert lines[2].split()[1] == "active"
    assert not any(line.endswith(" ") or "\x1b" in line for line in [header, *lines])


def test_list_for_programs_holds_what_show_does(cli: Cli) -> None:
    listed = cli.json("list")
    assert cli.json("show", "openrouter") in listed
    assert [each["provider_name"] for each in listed] == sorted(each["provider_name"] for each in listed)


def test_json_has_snake_case_keys_numbers_as_numbers_and_the_same_order_each_time(cli: Cli) -> None:
    cli.create("numbered", context_window_tokens=8192, model_capabilities={"z": 0.5, "a": [1, {"y": 2, "b": 3}]})
    first, second = cli("show", "numbered", "--json").stdout, cli("show", "numbered", "--json").stdout
    assert first == second
    fields = json.loads(first)
    assert fields["context_window_tokens"] == 8192
    assert fields["is_active"] is False
    assert json.dumps(fields["model_capabilities"]) == '{"a": [1, {"b": 3, "y": 2}], "z": 0.5}'
    assert list(fields)[:2] == ["provider_name", "display_name"]


def test_show_tells_people_everything(cli: Cli) -> None:
    shown = cli("show", "groq").stdout
    for text in ("groq (Groq)", "POST https://api.groq.com/openai/v1/responses", '"payload_structure"', "by seed"):
        assert text in shown


def test_text_of_others_cannot_steer_the_terminal(cli: Cli) -> None:
    cli.create("hostile", display_name="[red]a")
    # Not by the daemon, which takes no such name, but by SQL.
    cli.sql("UPDATE llm_provider_configs SET display_name = E'[red]a\\x1b[2Jb' WHERE provider_name = 'hostile'")
    cli.create("other")  # which is answered after the daemon has read what was before
    assert "hostile ([red]a\\x1b[2Jb)" in cli("show", "hostile").stdout
    assert cli.json("show", "hostile")["display_name"] == "[red]a\x1b[2Jb"


def test_get_without_an_active_provider_is_3(cluster: EmbeddedPostgres, psql: Psql, template: str) -> None:
    with cli_with_daemon(cluster, psql, template) as cli:
        cli.sql("UPDATE llm_provider_configs SET is_active = FALSE")
        # A write through the daemon is answered after it has read what was before.
        cli.create("other")
        missing = cli("get")
        assert missing.returncode == 3
        assert missing.stdout == ""
        assert missing.stderr.splitlines() == ["error: no provider is active; switch to one [NO_ACTIVE_PROVIDER]"]
        status = cli.json("status")
        assert status["active_provider"] is None
        refused = cli("switch", "groq", "--expected-revision", str(status["revision"]["number"] - 1))
        assert refused.returncode == 6
        switched = cli.json("switch", "groq", "--expected-revision", str(status["revision"]["number"]))
        assert (switched["switched"], switched["previous"]) == (True, None)


def test_status_of_a_fresh_daemon_is_0(cli: Cli) -> None:
    status = cli.json("status")
    assert 0 <= status.pop("age") < 10
    assert status.pop("daemon")["origin"]["kind"] == "postgresql"
    assert status == {
        "server": cli.daemon.address,
        "transport": "plain",
        "identity": "none",
        "reachable": True,
        "serving": True,
        "stale": False,
        "revision": cli.json("get")["revision"],
        "active_provider": "groq",
        "providers": len(cli.json("list")),
    }
    shown = cli("status")
    assert shown.returncode == 0
    assert ["active", "groq"] in [line.split() for line in shown.stdout.splitlines()]


def test_status_of_no_daemon_is_7() -> None:
    away = providerd("status", "--json")
    assert away.returncode == 7
    status = json.loads(away.stdout)
    assert (status["reachable"], status["serving"], status["revision"]) == (False, False, None)
    assert len(away.stderr.splitlines()) == 1
    assert ["reachable", "no"] in [line.split() for line in providerd("status").stdout.splitlines()]


def test_names_of_providers_are_completed_from_the_daemon(cli: Cli) -> None:
    assert _completed(cli.daemon.address, "providerd switch g") == ["google_ai", "groq"]


def test_completion_is_silent_without_a_daemon() -> None:
    assert _completed("127.0.0.1:1", "providerd switch g") == []


def test_commands_of_other_packages_are_completed_without_importing_them(cli: Cli) -> None:
    assert _completed(cli.daemon.address, "providerd s") == [
        "show", "status", "switch", "set-key", "serve", "sidecar",
    ]  # fmt: skip


def _completed(server: str, line: str) -> list[str]:
    words = line.split()
    asked = {"_PROVIDERD_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    done = subprocess.run(
        [PROVIDERD], env={**environment(server), **asked}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr == ""
    return [answer.partition(",")[2] for answer in done.stdout.split()]
