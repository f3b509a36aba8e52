"""One PostgreSQL cluster on disk: how it is made, who may enter it, and the command that serves it."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from providerd_server.embedded.account import Account, current_account
from providerd_server.embedded.errors import EmbeddedError
from providerd_server.embedded.installation import Installation

ROLE = "providerd"
DATABASE = "providerd"
PORT = 5432  # names the socket; nothing listens on TCP
INITDB_TIMEOUT = 120.0
PSQL_TIMEOUT = 30.0

SETTINGS: Mapping[str, str] = {
    # This is a database of record, and the command line wins over postgresql.conf and ALTER SYSTEM:
    # https://www.postgresql.org/docs/18/runtime-config-wal.html#RUNTIME-CONFIG-WAL-SETTINGS
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "32MB",
    "cluster_name": "providerd",
    "log_destination": "stderr",
    "logging_collector": "off",
    # A failed statement, or what it failed on, may hold a key: its error is for the client, not for a file.
    "log_min_messages": "log",
}

_CREATE_DATABASE = """
SELECT 'CREATE DATABASE providerd'
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'providerd')
\\gexec
"""


@dataclass(frozen=True)
class Cluster:
    """A cluster in ``data_dir/cluster``, run by an account, reached through a socket directory."""

    data_dir: Path
    account: Account
    installation: Installation
    sockets: Path

    @property
    def path(self) -> Path:
        """What PostgreSQL calls the data directory."""
        return self.data_dir / "cluster"

    def create(self) -> None:
        """Make the cluster when there is none; leave one that is there untouched.

        Raises:
            EmbeddedError: initdb fails, or what is there is not a cluster of these binaries.
        """
        if self.path.exists() and any(self.path.iterdir()):
            self._check_version()
        else:
            self._initialise()

    def write_authentication(self) -> None:
        """Write who may connect: by socket only, as one role, by the kernel's word on who is asking.

        See https://www.postgresql.org/docs/18/auth-peer.html and auth-username-maps.html.
        """
        names = sorted({"root", self.account.name, current_account().name})
        self._hba.write_text(f"local all {ROLE} peer map={ROLE}\n")
        self._ident.write_text("".join(f'{ROLE} "{name}" {ROLE}\n' for name in names))
        for file in (self._hba, self._ident):
            file.chmod(0o644)  # read by the account, and holds no secret

    def command(self, settings: Mapping[str, str]) -> list[str]:
        """Return the command that serves this cluster; ``settings`` win over ``SETTINGS``."""
        sockets = str(self.sockets).replace('"', '""')
        effective = {
            **SETTINGS,
            "unix_socket_directories": f'"{sockets}"',
            "hba_file": str(self._hba),
            "ident_file": str(self._ident),
            **settings,
        }
        command = [str(self.installation.binaries / "postgres"), "-D", str(self.path)]
        for name, value in effective.items():
            command += ["-c", f"{name}={value}"]
        return command

    def create_database(self) -> None:
        """Create the database when it is not there; the server must be running.

        Raises:
            EmbeddedError: the server refuses.
        """
        self._run(
            [
                self.installation.binaries / "psql",
                "-XqAt",
                "-v",
                "ON_ERROR_STOP=1",
                "-d",
                self.dsn("postgres"),
            ],
            timeout=PSQL_TIMEOUT,
            script=_CREATE_DATABASE,
        )

    def dsn(self, database: str) -> str:
        """Return a connection URL that libpq and asyncpg take alike; there is no password to hold."""
        return f"postgresql://{ROLE}@/{quote(database, safe='')}?host={quote(str(self.sockets))}&port={PORT}"

    @property
    def _hba(self) -> Path:
        return self.data_dir / "pg_hba.conf"

    @property
    def _ident(self) -> Path:
        return self.data_dir / "pg_ident.conf"

    def _check_version(self) -> None:
        try:
            found = (self.path / "PG_VERSION").read_text().strip()
        except FileNotFoundError:
            raise EmbeddedError(
                f"{self.path} is not empty and not a PostgreSQL cluster: set PROVIDERD_DATA_DIR to another directory"
            ) from None
        ours = str(self.installation.version_num() // 10_000)
        if found != ours:
            raise EmbeddedError(
                f"{self.path} was made by PostgreSQL {found}, this is {ours}: move the data with pg_dump of "
                f"version {found} and psql, or set PROVIDERD_DATA_DIR to another directory"
            )

    def _initialise(self) -> None:
        # The final name appears with the last step, so an interrupted attempt is never taken for a cluster.
        attempt = self.data_dir / "cluster.initialising"
        if attempt.exists():
            shutil.rmtree(attempt)
        attempt.mkdir(mode=0o700)
        os.chown(attempt, self.account.uid, self.account.gid)
        self._run(
            [
                *(self.installation.binaries / "initdb", "--pgdata", attempt, "--username", ROLE),
                *("--auth", "peer", "--data-checksums", "--encoding", "UTF8", "--locale", "C"),
                *("--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--no-instructions"),
            ],
            timeout=INITDB_TIMEOUT,
        )
        attempt.rename(self.path)
        _sync_directory(self.data_dir)

    def _run(self, command: list[Path | str], *, timeout: float, script: str | None = None) -> None:
        """Run one of PostgreSQL's programs as the account."""
        name = Path(command[0]).name
        try:
            subprocess.run(  # noqa: S603 - our own binaries and arguments, and no shell
                command,
                env=self.installation.environment,
                cwd=self.data_dir,
                umask=0o077,
                input=script or "",
                capture_output=True,
                text=True,
                timeout=timeout,
                check=True,
                **self.account.credentials,
            )
        except subprocess.TimeoutExpired:
            raise EmbeddedError(f"{name} did not finish in {timeout:.0f} s: try again on a less busy machine") from None
        except subprocess.CalledProcessError as error:
            reason = " | ".join(line.strip() for line in error.stderr.splitlines() if line.strip())
            raise EmbeddedError(f"{name} failed in {self.data_dir}: {reason}") from None


def _sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
