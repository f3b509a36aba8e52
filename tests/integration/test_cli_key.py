"""set-key and get --credential: a key goes in and out by these alone, and shows up nowhere else."""

from collections.abc import Iterator

import pytest

from providerd_server.embedded import EmbeddedPostgres
from tests.cli import Cli, Terminal, cli_with_daemon
from tests.conftest import Psql

KEY = "sk-very-secret-0123456789"


@pytest.fixture(scope="module")
def cli(cluster: EmbeddedPostgres, psql: Psql, template: str) -> Iterator[Cli]:
    with cli_with_daemon(cluster, psql, template) as cli:
        yield cli


def test_a_piped_key_is_stored_and_shown_only_when_asked_for(cli: Cli) -> None:
    name = cli.create("piped")
    stored = cli("set-key", name, stdin=f"{KEY}\r\nnot the key\n")
    assert stored.returncode == 0
    assert stored.stdout.startswith(f"stored the key of {name}, config version 2, revision ")
    assert cli("switch", name).stderr == ""  # no warning: it has a key
    silent = [
        stored,
        *(cli(*command) for command in (["get"], ["get", "--json"], ["list"], ["list", "--json"], ["show", name])),
        *(cli(*command) for command in (["show", name, "--json"], ["status", "--json"], ["switch", name, "--json"])),
        cli("set-key", name, "--json", stdin=f"{KEY}\n"),
        cli("--debug", "set-key", "nobody", stdin=f"{KEY}\n"),
    ]
    assert not any(KEY in done.stdout + done.stderr for done in silent)
    assert f"key       {KEY}\n" in cli("get", "--credential").stdout
    assert cli.json("get", "--credential")["credential"] == {"api_key": KEY}
    assert KEY not in cli.daemon.log.read_text()


def test_clear_forgets_the_key(cli: Cli) -> None:
    name = cli.create("cleared")
    cli("set-key", name, stdin=f"{KEY}\n")
    assert cli.json("show", name)["has_key"] is True
    assert cli("set-key", name, "--clear").stdout.startswith(f"cleared the key of {name}, ")
    assert cli.json("show", name)["has_key"] is False


def test_asking_for_a_key_that_is_not_there_is_3(cli: Cli) -> None:
    cli("switch", cli.create("bare"))
    missing = cli("get", "--credential")
    assert missing.returncode == 3
    assert missing.stdout == ""
    assert "providerd set-key bare" in missing.stderr


def test_a_key_as_an_argument_is_2_and_is_not_repeated(cli: Cli) -> None:
    refused = cli("set-key", cli.create("argued"), KEY)
    assert refused.returncode == 2
    assert len(refused.stderr.splitlines()) == 1
    assert KEY not in refused.stdout + refused.stderr
    assert cli.json("show", "argued")["has_key"] is False


@pytest.mark.parametrize("line", ["", "\n", f"  {KEY}\n", f"{KEY}\tx\n", f"{KEY}é\n"])
def test_a_key_that_cannot_be_one_is_5_and_is_not_repeated(cli: Cli, line: str) -> None:
    refused = cli("set-key", cli.create("picky"), stdin=line)
    assert refused.returncode == 5
    assert KEY not in refused.stdout + refused.stderr
    assert cli.json("show", "picky")["has_key"] is False


def test_a_terminal_is_asked_twice_and_shows_nothing(cli: Cli) -> None:
    name = cli.create("typed")
    with Terminal(cli, "set-key", name) as terminal:
        terminal.type_hidden(f"Key of {name}: ", KEY)
        # The process holds the key now, and waits.
        assert KEY not in terminal.visible_to_others()
        terminal.type_hidden("Repeat for confirmation: ", KEY)
        assert terminal.end() == 0
        assert KEY not in terminal.seen
        assert f"stored the key of {name}" in terminal.seen
    cli("switch", name)
    assert cli.json("get", "--credential")["credential"] == {"api_key": KEY}


def test_two_different_keys_on_a_terminal_are_asked_for_again(cli: Cli) -> None:
    name = cli.create("mistyped")
    with Terminal(cli, "set-key", name) as terminal:
        terminal.type_hidden(f"Key of {name}: ", KEY)
        terminal.type_hidden("Repeat for confirmation: ", "sk-other")
        terminal.wait_for("do not match")
        terminal.interrupt()
        assert terminal.end() == 130
        assert KEY not in terminal.seen
    assert cli.json("show", name)["has_key"] is False
