"""rollback and delete against a real daemon: what they show, what they ask, and what they refuse."""

import json
from collections.abc import Iterator

import pytest

from providerd_server.embedded import EmbeddedPostgres
from tests.cli import Cli, Terminal, cli_with_daemon
from tests.conftest import Psql


@pytest.fixture(scope="module")
def cli(cluster: EmbeddedPostgres, psql: Psql, template: str) -> Iterator[Cli]:
    with cli_with_daemon(cluster, psql, template) as cli:
        yield cli


def newest(cli: Cli) -> int:
    return int(cli.sql("SELECT revision FROM llm_provider_store"))


def edited(cli: Cli, name: str) -> int:
    """Creates a provider and changes it; returns the revision before the change."""
    cli.create(name, description="old")
    before = newest(cli)
    cli.json("upsert", "-f", "-", stdin=json.dumps({"provider_name": name, "description": "new"}))
    return before


def test_a_rollback_shows_what_it_changes_and_tells_the_history(cli: Cli) -> None:
    before = edited(cli, "back")
    done = cli("rollback", "back", str(before), "--yes", "--reason", "it was better")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "~ back",
        '  ~ description: "new" → "old"',
        f"rolled back back, config version 3, revision {newest(cli)}",
    ]
    assert cli.json("show", "back")["description"] == "old"
    assert f"rollback to revision {before}: it was better" in cli("history", "back", "--limit", "1").stdout
    again = cli("rollback", "back", str(before), "--yes")
    assert again.stdout == f"as at revision {before} already: back, config version 3\n"


def test_a_rollback_is_tried_without_a_change(cli: Cli) -> None:
    before = edited(cli, "tried")
    revision = newest(cli)
    tried = cli("rollback", "tried", str(before), "--dry-run")
    assert tried.stdout.splitlines() == [
        "would roll back tried, config version 3",
        '  ~ description: "new" → "old"',
    ]
    plan = cli.json("rollback", "tried", str(before), "--dry-run")
    assert (plan["changed"], plan["created"], plan["revision"]) == (True, False, None)
    assert plan["changes"] == [{"field": "description", "old": "new", "new": "old"}]
    assert newest(cli) == revision


def test_a_deleted_provider_comes_back_without_its_key(cli: Cli) -> None:
    before = edited(cli, "lost")
    cli("set-key", "lost", stdin="sk-of-the-tests\n")
    deleted = cli("delete", "lost", "--yes", "--actor", "night shift")
    revision = newest(cli)
    hint = f"`providerd rollback lost {revision - 1}` brings it back, without a key"
    assert deleted.stdout == f"deleted lost, revision {revision}; {hint}\n"
    assert cli("show", "lost").returncode == 3
    assert cli.json("history", "lost", "--limit", "1")[0]["actor"] == "night shift"
    back = cli("rollback", "lost", str(before), "--yes").stdout.splitlines()
    assert back[0] == "+ lost"
    assert '  + description: "old"' in back
    assert not any("is_active" in line or "provider_name" in line for line in back)
    shown = cli.json("show", "lost")
    assert (shown["description"], shown["has_key"], shown["is_active"]) == ("old", False, False)


def test_programs_get_json_and_nothing_else(cli: Cli) -> None:
    before = edited(cli, "parsed")
    rolled = cli("rollback", "parsed", str(before), "--yes", "--json")
    assert json.loads(rolled.stdout)["changes"] == [{"field": "description", "old": "new", "new": "old"}]
    assert '~ description: "new" → "old"' in rolled.stderr
    tried, done = cli.json("delete", "parsed", "--dry-run"), cli.json("delete", "parsed", "--yes")
    assert tried["revision"] is None
    assert done["provider"] == tried["provider"]
    assert done["revision"]["number"] == newest(cli)


@pytest.mark.parametrize("command", ["rollback", "delete"])
def test_without_a_terminal_nothing_happens_without_yes(cli: Cli, command: str) -> None:
    before = edited(cli, f"safe-{command}")
    revision = newest(cli)
    arguments = [command, f"safe-{command}", *([str(before)] if command == "rollback" else [])]
    refused = cli(*arguments, stdin="y\n")
    assert refused.returncode == 2
    (line,) = refused.stderr.splitlines()
    assert line.startswith("error: ")
    assert "--yes" in line
    assert newest(cli) == revision


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 1), ("", 1)])
def test_a_terminal_is_asked(cli: Cli, answer: str, code: int) -> None:
    name = cli.create(f"asked-{answer or 'nothing'}", display_name="For people")
    with Terminal(cli, "delete", name) as terminal:
        terminal.type(f"Delete {name} (For people)? [y/N]: ", answer)
        assert terminal.end() == code
    assert cli("show", name).returncode == (3 if answer == "y" else 0)


def test_the_question_says_that_the_key_goes_too(cli: Cli) -> None:
    name = cli.create("keyed", display_name="For people")
    cli("set-key", name, stdin="sk-of-the-tests\n")
    with Terminal(cli, "delete", name) as terminal:
        terminal.wait_for(f"Delete {name} (For people) and its key? [y/N]: ")
        terminal.interrupt()
        assert terminal.end() == 130
    assert cli.json("show", name)["has_key"] is True


@pytest.mark.parametrize("command", ["rollback", "delete"])
def test_what_was_not_shown_is_not_done(cli: Cli, command: str) -> None:
    before = edited(cli, f"raced-{command}")
    name = f"raced-{command}"
    with Terminal(cli, command, name, *([str(before)] if command == "rollback" else [])) as terminal:
        terminal.wait_for("[y/N]: ")
        cli.json("upsert", "-f", "-", stdin=json.dumps({"provider_name": name, "description": "somebody else's"}))
        terminal.type("", "y")
        assert terminal.end() == 6
        assert "[CONFIG_VERSION_MISMATCH]" in terminal.seen
    assert cli.json("show", name)["description"] == "somebody else's"


@pytest.mark.parametrize("command", ["rollback", "delete"])
def test_an_expected_version_that_is_not_the_current_one_is_6(cli: Cli, command: str) -> None:
    before = edited(cli, f"stale-{command}")
    arguments = [command, f"stale-{command}", *([str(before)] if command == "rollback" else []), "--yes"]
    refused = cli(*arguments, "--expected-config-version", "1")
    assert refused.returncode == 6
    assert "at config_version 2, not at 1" in refused.stderr
    assert cli(*arguments, "--expected-config-version", "2").returncode == 0


def test_the_active_provider_cannot_be_deleted(cli: Cli) -> None:
    name = cli.create("current")
    cli("switch", name)
    refused = cli("delete", name, "--yes")
    assert refused.returncode == 4
    assert refused.stderr.endswith("[PROVIDER_ACTIVE]\n")


def test_what_never_was_cannot_come_back(cli: Cli) -> None:
    assert cli("delete", "nobody", "--yes").returncode == 3
    never = cli("rollback", "nobody", "1", "--yes")
    assert never.returncode == 3
    assert never.stderr.endswith("[PROVIDER_NOT_FOUND]\n")
    future = cli("rollback", "groq", "1000000", "--yes")
    assert future.returncode == 3
    assert future.stderr.endswith("[REVISION_UNKNOWN]\n")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["switch", "chatgpt"], "would switch from groq to chatgpt, model "),
        (["disable", "chatgpt"], "would disable chatgpt, config version "),
        (["set-key", "chatgpt"], "would store the key of chatgpt, config version "),
    ],
)
def test_every_change_can_be_tried(cli: Cli, command: list[str], said: str) -> None:
    cli("switch", "groq")
    cli("enable", "chatgpt")
    revision = newest(cli)
    tried = cli(*command, "--dry-run", stdin="sk-of-the-tests\n")
    assert tried.returncode == 0, tried.stderr
    assert tried.stdout.startswith(said)
    assert newest(cli) == revision
    assert cli("status").returncode == 0  # it does not wait for a revision that never comes


def test_trying_refuses_what_doing_would(cli: Cli) -> None:
    cli("switch", "groq")
    assert cli("disable", "groq", "--dry-run").returncode == 4
    assert cli("switch", "nobody", "--dry-run").returncode == 3
