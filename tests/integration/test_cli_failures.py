"""How the program fails: one line on standard error, and an exit code to rely on."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import grpc
import pytest

import providerd as sdk
import providerd_server
from tests.cli import environment, providerd, start
from tests.daemon import PROVIDERD, clean_environment
from tests.integration.scripted_server import scripted_server

# What the distribution installs without extras, and what its extra `cli` adds.
THIN = ("grpc", "google", "typing_extensions.py")
CLI = ("click", "yaml", "_yaml", "rich", "pygments", "markdown_it", "mdurl")


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [
        (grpc.StatusCode.INTERNAL, 1),
        (grpc.StatusCode.UNIMPLEMENTED, 1),
        (grpc.StatusCode.NOT_FOUND, 3),
        (grpc.StatusCode.FAILED_PRECONDITION, 4),
        (grpc.StatusCode.INVALID_ARGUMENT, 5),
        (grpc.StatusCode.ABORTED, 6),
        (grpc.StatusCode.UNAVAILABLE, 7),
        (grpc.StatusCode.DEADLINE_EXCEEDED, 7),
        (grpc.StatusCode.PERMISSION_DENIED, 8),
        (grpc.StatusCode.UNAUTHENTICATED, 8),
    ],
)
async def test_each_refusal_has_its_exit_code(code: grpc.StatusCode, exit_code: int) -> None:
    async def refuse(_: Any, context: Any) -> None:
        await context.abort(code, "not\x1b[2J\ntoday")

    async with scripted_server() as server:
        server.answers["GetActiveProvider"] = refuse
        done = await asyncio.to_thread(providerd, "get", server=server.address)
    assert done.returncode == exit_code
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert line.endswith(f"[{code.name}]")
    assert "\x1b" not in line


def test_no_daemon_is_7_and_says_where_and_what_to_do() -> None:
    away = providerd("get", server="127.0.0.1:1")
    assert away.returncode == 7
    (line,) = away.stderr.splitlines()
    assert line.startswith("error: cannot reach the daemon at 127.0.0.1:1")
    assert "--server" in line


def test_a_daemon_that_does_not_answer_is_7() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        done = providerd("get", "--timeout", "0.5", server=f"127.0.0.1:{port}")
    assert done.returncode == 7
    assert len(done.stderr.splitlines()) == 1


def test_ctrl_c_is_130_and_quiet() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        process = start(
            "get",
            "--timeout",
            "60",
            server=f"127.0.0.1:{silent.getsockname()[1]}",
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        connection, _ = silent.accept()  # from here on it waits for an answer
        with connection:
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=30) == ("", "")
    assert process.returncode == 130


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("get", "--nonsense"),
        ("show",),
        ("upsert",),
        ("upsert", "-f", "/does/not/exist"),
        ("--timeout", "0", "get"),
        ("--timeout", "soon", "get"),
        ("--server", "no port", "get"),
        ("switch", "groq", "--expected-revision", "-1"),
        ("completion", "tcsh"),
    ],
)
def test_wrong_usage_is_2_and_names_the_help(arguments: tuple[str, ...]) -> None:
    done = providerd(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert line.endswith("--help)")


def test_debug_adds_the_traceback() -> None:
    done = providerd("--debug", "get")
    assert done.returncode == 7
    assert "Traceback (most recent call last)" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ")


def test_a_reader_that_leaves_early_sees_no_traceback() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [PROVIDERD, "--help"],
        env=environment("127.0.0.1:1"),
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


def test_without_the_cli_extra_one_line_says_how_to_get_it(tmp_path: Path) -> None:
    done = _run_with_only(tmp_path, THIN, "get")
    assert done.returncode == 2
    assert done.stderr == "error: the program needs click, rich, pyyaml: pip install 'providerd[cli]'\n"


@pytest.mark.parametrize("command", ["serve", "migrate"])
def test_without_the_server_extra_one_line_says_how_to_get_it(tmp_path: Path, command: str) -> None:
    done = _run_with_only(tmp_path, THIN + CLI, command)
    assert done.returncode == 2
    hint = f"error: the command `{command}` needs the server extra: pip install 'providerd[server,embedded]'\n"
    assert done.stderr == hint


def test_help_lists_every_command_without_the_server_extra(tmp_path: Path) -> None:
    done = _run_with_only(tmp_path, THIN + CLI, "--help")
    assert done.returncode == 0
    assert re.search(r"^  serve  +Run the daemon\.$", done.stdout, re.MULTILINE)


def _run_with_only(directory: Path, installed: tuple[str, ...], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the program where, of all that is installed here, only a part is."""
    everything = Path(click.__file__).parents[1]
    for name in installed:
        (directory / name).symlink_to(everything / name)
    for metadata in everything.glob("providerd-*.dist-info"):
        (directory / metadata.name).symlink_to(metadata)
    path = [directory, *(Path(package.__path__[0]).parent for package in (sdk, providerd_server))]
    return subprocess.run(
        # -S leaves out what is installed; the path brings a part of it back.
        [sys.executable, "-S", "-m", "providerd.cli.main", *arguments],
        env={**clean_environment(), "PYTHONPATH": os.pathsep.join(map(str, path))},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
