"""history, diff and looking at the past, against a real daemon."""

import json
import re
from collections.abc import Iterator

import pytest

from providerd_server.embedded import EmbeddedPostgres
from tests.cli import Cli, Terminal, cli_with_daemon
from tests.conftest import Psql
from tests.daemon import DAEMON_ROLE


@pytest.fixture(scope="module")
def cli(cluster: EmbeddedPostgres, psql: Psql, template: str) -> Iterator[Cli]:
    with cli_with_daemon(cluster, psql, template) as cli:
        yield cli


def change(cli: Cli, name: str, *options: str, **fields: object) -> int:
    """Changes a provider and returns the revision of it."""
    done = cli.json("upsert", "-f", "-", *options, stdin=json.dumps({"provider_name": name, **fields}))
    return int(done["revision"]["number"])


def test_the_newest_change_comes_first(cli: Cli) -> None:
    cli.create("told")
    number = change(cli, "told", "--reason", "it moved", "--actor", "night shift", description="new")
    header, *lines = cli("history", "told").stdout.splitlines()
    assert header.split() == ["revision", "time", "action", "provider", "actor", "reason"]
    first = re.split(r"  +", lines[0])
    assert first[:1] + first[2:] == [str(number), "updated", "told", "night shift", "it moved"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", first[1])
    assert lines[1].split()[2:4] == ["created", "told"]
    assert len(lines) == 2


def test_programs_get_every_field_of_an_entry(cli: Cli) -> None:
    cli.create("machine")
    number = change(cli, "machine", description="new", default_model="large")
    entry, created = cli.json("history", "machine")
    assert entry.pop("entry_id") > created["entry_id"]
    assert entry.pop("change_time").endswith("Z")
    assert entry.pop("database_user") == DAEMON_ROLE
    assert entry.pop("changes") == [
        {"field": "default_model", "old": "small", "new": "large"},
        {"field": "description", "new": "new"},
    ]
    assert entry.pop("revision") == {"store_id": created["revision"]["store_id"], "number": number}
    assert set(entry) == {"provider_name", "action", "actor", "reason"}


def test_changes_are_a_line_each_with_the_old_and_the_new_value(cli: Cli) -> None:
    cli.create("lined", model_capabilities={"tools": True, "n": None})
    change(cli, "lined", default_model="large", model_capabilities={"n": 1, "deep": {"x\x1b": [1]}})
    heading, *lines = cli("history", "lined", "--changes", "--limit", "1").stdout.splitlines()
    assert heading.startswith("revision ")
    assert " updated lined by " in heading
    assert sorted(lines) == [
        '  + model_capabilities.deep: {"x\\u001b": [1]}',
        "  - model_capabilities.tools: true",
        '  ~ default_model: "small" → "large"',
        "  ~ model_capabilities.n: null → 1",
    ]


def test_a_limit_says_that_there_is_more(cli: Cli) -> None:
    cli.create("many")
    numbers = [change(cli, "many", description=str(count)) for count in range(3)]
    some = cli("history", "many", "--limit", "2")
    assert [line.split()[0] for line in some.stdout.splitlines()[1:]] == [str(numbers[2]), str(numbers[1])]
    assert some.stderr == "only the newest 2; --all shows the rest\n"
    exact, every = cli("history", "many", "--limit", "4"), cli("history", "many", "--all")
    assert exact.stdout == every.stdout
    assert len(every.stdout.splitlines()) == 5
    assert exact.stderr == every.stderr == ""


def test_all_goes_beyond_one_page(cli: Cli) -> None:
    name = cli.create("paged")
    update = "UPDATE llm_provider_configs SET description = n WHERE provider_name = 'paged'"
    cli.sql(f"DO $$ BEGIN FOR n IN 1..120 LOOP {update}; END LOOP; END $$")
    entries = cli.json("history", name, "--all")
    assert [each["changes"][0]["new"] for each in entries[:-1]] == [str(n) for n in range(120, 0, -1)]
    assert len(cli.json("history", name, "--limit", "110")) == 110


def test_conditions_are_all_kept(cli: Cli) -> None:
    name = cli.create("sifted")
    first = change(cli, name, "--actor", "alpha", description="1")
    second = change(cli, name, "--actor", "beta", description="2")
    off = cli.json("disable", name, "--actor", "alpha")["revision"]["number"]

    def found(*conditions: str) -> list[int]:
        return [each["revision"]["number"] for each in cli.json("history", name, *conditions)]

    assert found("--actor", "alpha") == [off, first]
    assert found("--action", "disabled") == [off]
    assert found("--actor", "alpha", "--action", "updated") == [first]
    assert found("--from-revision", str(first), "--to-revision", str(second)) == [second, first]
    assert found("--to-revision", str(first - 2)) == []


def test_times_are_dates_or_how_long_ago(cli: Cli) -> None:
    name = cli.create("timed")
    cli.sql(
        "UPDATE llm_provider_config_history SET changed_at = '2020-02-03T04:05:06Z' WHERE provider_name = 'timed'",
    )
    recent = change(cli, name, description="now")

    def found(*conditions: str) -> list[str]:
        return [each["action"] for each in cli.json("history", name, *conditions)]

    assert found("--since", "2h") == found("--since", "90m ago") == found("--since", "2021-01-01") == ["updated"]
    assert found("--until", "7d") == ["created"]
    assert found("--since", "2020-02-03T04:05:06Z", "--until", "2020-02-03T04:05:07") == ["created"]
    assert found("--since", "2020-02-03T05:05:06+01:00", "--until", "2020-02-03T04:05:06+00:00") == []
    assert recent


@pytest.mark.parametrize("time", ["yesterday", "", "2h30m", "2020-13-01", "99999999999999d", "²h"])
def test_a_time_that_is_none_is_2(cli: Cli, time: str) -> None:
    refused = cli("history", "--since", time)
    assert refused.returncode == 2
    (line,) = refused.stderr.splitlines()
    assert "is neither a time, as 2026-03-01T12:00, nor how long ago, as 2h or 7d" in line


def test_diff_tells_what_came_what_went_and_what_changed(cli: Cli) -> None:
    kept, gone = cli.create("kept"), cli.create("gone")
    cli("switch", gone)
    start = cli.json("get")["revision"]["number"]
    cli("switch", kept)
    cli("delete", gone, "--yes")
    change(cli, kept, default_model="large")
    new = cli.create("new")
    end = cli.json("get")["revision"]["number"]
    lines = cli("diff", str(start)).stdout.splitlines()
    assert lines[0] == f"between revision {start} and revision {end}:"
    assert lines[1:4] == ["- gone", "~ kept", '  ~ default_model: "small" → "large"']
    assert lines[4] == f"+ {new}"
    assert '  + base_url: "https://llm.example"' in lines[5:-1]
    assert lines[-1] == "= active: gone → kept"
    assert not any("is_active" in line or "provider_name" in line for line in lines)

    told = cli.json("diff", str(start), str(end))
    assert [(each["provider_name"], each["kind"]) for each in told["diffs"]] == [
        ("gone", "removed"),
        ("kept", "changed"),
        ("new", "added"),
    ]
    assert {"field": "default_model", "old": "small", "new": "large"} in told["diffs"][1]["changes"]
    assert (told["from_revision"]["number"], told["to_revision"]["number"]) == (start, end)


def test_diff_of_one_provider_and_backwards(cli: Cli) -> None:
    name = cli.create("single")
    start = cli.json("get")["revision"]["number"]
    change(cli, name, description="one")
    end = change(cli, cli.create("another"), description="two")
    shown = cli("diff", str(start), name)
    assert shown.stdout.splitlines()[1:] == ["~ single", '  + description: "one"']
    assert cli("diff", str(start), str(end), name).stdout == shown.stdout
    back = cli("diff", str(end), str(start), name).stdout
    assert back.splitlines()[1:] == ["~ single", '  - description: "one"']
    assert cli("diff", str(end)).stdout == f"no difference between revision {end} and revision {end}\n"
    assert cli("diff", str(start), "x", name).returncode == 2


def test_a_diff_of_one_provider_says_by_itself_whether_it_is_active(cli: Cli) -> None:
    name = cli.create("lonely")
    start = cli.json("get")["revision"]["number"]
    cli("switch", name)
    assert cli("diff", str(start), name).stdout.splitlines()[1:] == ["~ lonely", "  ~ is_active: false → true"]


def test_long_values_are_cut_on_a_terminal_and_nowhere_else(cli: Cli) -> None:
    name = cli.create("lengthy", description="a" * 300)
    start = cli.json("get")["revision"]["number"]
    change(cli, name, description="b" * 300)
    assert cli("diff", str(start), name).stdout.splitlines()[2] == f'  ~ description: "{"a" * 300}" → "{"b" * 300}"'
    with Terminal(cli, "diff", str(start), name) as terminal:
        assert terminal.end() == 0
    (line,) = (line for line in terminal.seen.splitlines() if "description" in line)
    assert '"aaaaaaaaaaaa' in line
    assert '… → "bbbbbbbbbbbb' in line
    assert "a" * 60 not in line


def test_list_and_show_look_at_the_past(cli: Cli) -> None:
    name = cli.create("past", description="then")
    number = cli.json("get")["revision"]["number"]
    then = cli.json("show", name)
    change(cli, name, description="now")
    late = cli.create("late")
    assert cli.json("show", name, "--at", str(number)) == then
    assert "then" in cli("show", name, "--at", str(number)).stdout
    listed = cli.json("list", "--at", str(number))
    assert then in listed
    assert late not in [each["provider_name"] for each in listed]
    missing = cli("show", late, "--at", str(number))
    assert missing.returncode == 3
    assert missing.stderr == f"error: there was no provider 'late' at revision {number} [PROVIDER_NOT_FOUND]\n"


@pytest.mark.parametrize("command", [("list", "--at"), ("show", "groq", "--at"), ("diff",), ("export", "--at")])
def test_a_revision_that_is_yet_to_come_is_3(cli: Cli, command: tuple[str, ...]) -> None:
    refused = cli(*command, "1000000")
    assert refused.returncode == 3
    (line,) = refused.stderr.splitlines()
    assert line.endswith("[REVISION_UNKNOWN]")


def test_a_key_is_told_by_its_fingerprint_alone(cli: Cli) -> None:
    name = cli.create("secretive")
    start = cli.json("get")["revision"]["number"]
    cli("set-key", name, stdin="sk-of-the-tests-1\n")
    fingerprint = cli.json("show", name)["key_fingerprint"]
    told = [cli("diff", str(start)), cli("history", name, "--changes"), cli("history", name, "--json")]
    assert all(fingerprint in done.stdout for done in told)
    assert not any("sk-of-the-tests" in done.stdout for done in told)
