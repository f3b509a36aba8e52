"""What the program says of itself, which takes no daemon."""

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from providerd import __version__
from providerd.cli.failures import EXIT_CODES, ExitCode, report
from providerd.cli.program import COMMANDS, program

SECURITY = {"--tls", "--ca-file", "--cert-file", "--key-file", "--tls-server-name", "--token-file", "--insecure"}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_the_help_of_each_command_has_an_example(command: click.Command) -> None:
    shown = CliRunner().invoke(program, [command.name or "", "--help"])
    assert shown.exit_code == 0
    assert f"Example:\n    providerd {command.name}" in shown.output or f" providerd {command.name} " in shown.output


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_each_command_that_reads_or_writes_takes_the_common_options(command: click.Command) -> None:
    options = {option for parameter in command.params for option in parameter.opts}
    assert {"--server", "--timeout", *SECURITY} <= options or command.name == "completion"
    assert "--json" in options or command.name in ("completion", "export")


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_each_command_that_changes_something_can_be_tried_and_explained(command: click.Command) -> None:
    options = {option for parameter in command.params for option in parameter.opts}
    changing = {"switch", "upsert", "enable", "disable", "set-key", "delete", "rollback", "import"}
    wanted = {"--dry-run", "--reason"} if command.name in changing else set()
    assert options & {"--dry-run", "--reason"} == wanted
    assert ("--yes" in options) == (command.name in {"delete", "rollback", "import"})


def test_the_help_lists_all_commands_and_exit_codes() -> None:
    shown = CliRunner().invoke(program, ["--help"]).output
    for command in (*(command.name for command in COMMANDS), "serve", "migrate", "psql", "keys", "token"):
        assert f"\n  {command} " in shown
    for code in ExitCode:
        assert f"\n  {code:d}  " in EXIT_CODES
    assert "6  conflict" in shown


def test_only_the_help_of_the_program_has_the_options_of_tls_and_tokens() -> None:
    help_of_all, help_of_one = (CliRunner().invoke(program, arguments).output for arguments in (["-h"], ["get", "-h"]))
    for option in SECURITY:
        assert f"\n  {option} " in help_of_all
        assert option not in help_of_one
        assert "--token " not in help_of_all + help_of_one


def test_without_a_command_the_help_is_shown() -> None:
    assert CliRunner().invoke(program, []).output == CliRunner().invoke(program, ["-h"]).output


def test_the_version() -> None:
    assert CliRunner().invoke(program, ["--version"], prog_name="providerd").output == f"providerd {__version__}\n"


@pytest.mark.parametrize(("shell", "registers"), [("bash", "complete "), ("zsh", "compdef "), ("fish", "complete ")])
def test_the_completion_of_each_shell_asks_this_program(shell: str, registers: str) -> None:
    script = CliRunner().invoke(program, ["completion", shell]).output
    assert registers in script
    assert f"_PROVIDERD_COMPLETE={shell}_complete" in script


def test_what_nobody_foresaw_is_one_line_and_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(RuntimeError("first\nsecond"), debug=False) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "error: RuntimeError: first second (run with --debug for the traceback)\n"


@pytest.mark.parametrize("arguments", [["get", "--json"], ["--help"]])
def test_starting_imports_no_more_than_it_needs(arguments: list[str]) -> None:
    report = "import sys; from providerd.cli.main import main; main(); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", report, *arguments, *(["--server", "127.0.0.1:1"] if "get" in arguments else [])],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    modules = set(done.stderr.splitlines()[-1].split())
    assert "providerd.cli.reading" in modules
    assert not modules & {"rich.console", "providerd_server", "asyncpg", "pydantic", "providerd.sync"}


def test_subcommands_of_other_packages_are_listed_below_their_command() -> None:
    assert "\n  admin-settings  " in CliRunner().invoke(program, ["import", "--help"]).output
    assert "admin-settings" not in CliRunner().invoke(program, ["--help"]).output
