"""The installed program, run as people run it: as a process, against a daemon of the test module's own."""

import fcntl
import itertools
import json
import os
import pty
import subprocess
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from providerd_server.embedded import EmbeddedPostgres
from tests.conftest import Psql
from tests.daemon import PROVIDERD, DaemonProcess, clean_environment, running_daemon

# What a provider must have, and nothing more.
MINIMAL: dict[str, Any] = {
    "display_name": "Minimal",
    "base_url": "https://llm.example",
    "endpoint_path_template": "/v1",
    "default_model": "small",
    "request_builder_config": {
        "version": "1.0",
        "payload_structure": {
            "model": {"source": "param:model_name"},
            "messages": {"source": "param:messages"},
        },
    },
    "response_extractor_config": {
        "version": "1.0",
        "extraction_rules": {"text_content": {"paths": ["text"]}, "usage_stats": {"paths": ["usage"]}},
    },
}

_numbers = itertools.count(1)


class Cli:
    """Runs ``providerd`` against one daemon."""

    def __init__(self, daemon: DaemonProcess, psql: Psql, dsn: str) -> None:
        self.daemon = daemon
        self.dsn = dsn
        self._psql = psql

    def __call__(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Runs a command and returns how it went, whatever that is."""
        return providerd(*arguments, server=self.daemon.address, stdin=stdin)

    def json(self, *arguments: str, stdin: str = "") -> Any:
        """Runs a command that must go well, and returns what it printed with --json."""
        done = self(*arguments, "--json", stdin=stdin)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def create(self, name: str, **fields: Any) -> str:
        """Creates a provider that has what it must have, and returns its name."""
        self.json("upsert", "-f", "-", stdin=json.dumps({"provider_name": name, **MINIMAL, **fields}))
        return name

    def sql(self, statement: str) -> str:
        """Returns what a statement answers, in the database of the daemon."""
        done = self._psql(self.dsn, "-c", statement)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


class Terminal:
    """A command at a terminal of its own, and a person who reads and types there."""

    def __init__(self, cli: Cli, *arguments: str, kind: str = "xterm") -> None:
        self.seen = ""
        self._unread = 0
        self._master, slave = pty.openpty()
        self._process = start(
            *arguments,
            server=cli.daemon.address,
            terminal=kind,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            # Makes it the controlling terminal, which is where a hidden prompt reads.
            preexec_fn=lambda: fcntl.ioctl(slave, termios.TIOCSCTTY, 0),
        )
        os.close(slave)

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._master)

    def wait_for(self, text: str) -> None:
        while text not in self.seen[self._unread :]:
            assert self._read(), f"ended before {text!r}: {self.seen!r}"
        self._unread = self.seen.index(text, self._unread) + len(text)

    def type(self, prompt: str, line: str) -> None:
        self.wait_for(prompt)
        os.write(self._master, f"{line}\n".encode())

    def type_hidden(self, prompt: str, line: str) -> None:
        self.wait_for(prompt)
        local_modes = termios.tcgetattr(self._master)[3]
        assert not local_modes & termios.ECHO
        os.write(self._master, f"{line}\n".encode())

    def interrupt(self) -> None:
        """Presses Ctrl-C until the command ends: readline may miss one that comes before its select()."""
        for _ in range(10):
            os.write(self._master, b"\x03")
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(2)
                return

    def visible_to_others(self) -> str:
        process = Path("/proc") / str(self._process.pid)
        return (process / "cmdline").read_text() + (process / "environ").read_text()

    def end(self) -> int:
        while self._read():
            pass
        return self._process.wait(30)

    def _read(self) -> bool:
        data = b""
        with suppress(OSError):  # what Linux says once the other side is closed
            data = os.read(self._master, 4096)
        self.seen += data.decode()
        return bool(data)


def providerd(*arguments: str, server: str = "127.0.0.1:1", stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Runs the program to its end; without a server it finds none."""
    return subprocess.run(
        [PROVIDERD, *arguments],
        env=environment(server),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def start(*arguments: str, server: str, terminal: str = "dumb", **options: Any) -> subprocess.Popen[str]:
    """Starts the program, in a session of its own; `options` are those of subprocess.Popen."""
    return subprocess.Popen(
        [PROVIDERD, *arguments],
        env={**environment(server), "TERM": terminal},
        text=True,
        start_new_session=True,
        **options,
    )


def environment(server: str) -> dict[str, str]:
    return {**clean_environment(), "PROVIDERD_SERVER": server}


@contextmanager
def cli_with_daemon(cluster: EmbeddedPostgres, psql: Psql, template: str, **env: str) -> Iterator[Cli]:
    """A program with a daemon of its own over a database of its own, with the initial providers."""
    name = f"cli_{next(_numbers)}"
    admin = cluster.dsn("postgres")
    created = psql(admin, "-c", f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY WAL_LOG")
    assert created.returncode == 0, created.stderr
    with running_daemon(cluster.dsn(name), **env) as daemon:
        yield Cli(daemon, psql, cluster.dsn(name))
    dropped = psql(admin, "-c", f"DROP DATABASE {name} WITH (FORCE)")
    assert dropped.returncode == 0, dropped.stderr
