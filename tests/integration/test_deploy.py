"""What compose.yaml runs, in its order, against a real PostgreSQL: secrets, schema, roles, and the daemon."""

import base64
import hashlib
import hmac
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from providerd_server.embedded import EmbeddedPostgres
from tests.conftest import Psql
from tests.daemon import PROVIDERD, clean_environment
from tests.deployment import COMPOSE, ROOT, services


@pytest.fixture
def compose(tmp_path: Path) -> Path:
    """A copy of the directory of the compose file, with new secrets."""
    directory = tmp_path / "compose"
    shutil.copytree(COMPOSE.parent, directory, ignore=shutil.ignore_patterns("secrets", "tls"))
    assert run([directory / "make-secrets.sh"]).returncode == 0
    return directory


@pytest.fixture
def account(empty_database: str, psql: Psql) -> Iterator[str]:
    """The account of the daemon, which is of the whole cluster, and so goes after the test."""
    yield "fleet_daemon"
    assert psql(empty_database, "-c", "DROP ROLE IF EXISTS fleet_daemon").returncode == 0


def test_secrets_are_random_closed_to_others_and_never_made_twice(compose: Path) -> None:
    made = {path.name: path.read_text() for path in (compose / "secrets").iterdir()}
    assert made.keys() == {"owner-password", "daemon-password", "owner.env", "daemon.env"}
    assert stat.S_IMODE((compose / "secrets").stat().st_mode) == 0o700
    assert all(len(set(made[f"{account}-password"].strip())) > 8 for account in ("owner", "daemon"))
    assert made["daemon-password"].strip() in made["daemon.env"]
    again = run([compose / "make-secrets.sh"])
    assert (again.returncode, again.stdout) == (1, "")
    assert {path.name: path.read_text() for path in (compose / "secrets").iterdir()} == made


def test_from_nothing_to_a_daemon(
    compose: Path, account: str, empty_database: str, cluster: EmbeddedPostgres, psql: Psql
) -> None:
    migrated = run([PROVIDERD, "migrate", "up"], cwd=working_directory(compose, "owner", empty_database))
    assert migrated.returncode == 0, migrated.stderr

    place, _, parameters = empty_database.partition("?")
    given = dict(re.findall(r"(\w+)=([^&]+)", parameters))
    environment = {
        "PGHOST": given["host"],
        "PGUSER": "providerd",
        "PGDATABASE": place.rpartition("/")[2],
        "ROLES_FILE": str(ROOT / "migrations/roles.sql"),
        "OWNER_PASSWORD_FILE": str(compose / "secrets/owner-password"),
        "DAEMON_PASSWORD_FILE": str(compose / "secrets/daemon-password"),
    }
    assert environment.keys() == services()["roles"]["environment"].keys()
    environment["PATH"] = f"{cluster.binaries}{os.pathsep}{os.environ['PATH']}"
    for _ in range(2):  # as at each start
        roles = run(["sh", compose / "make-roles.sh"], env={**cluster.environment, **environment})
        assert roles.returncode == 0, roles.stderr
    stored = psql(empty_database, "-c", f"SELECT rolpassword FROM pg_authid WHERE rolname = '{account}'").stdout.strip()
    assert is_scram_of((compose / "secrets/daemon-password").read_text().strip(), stored)

    directory = working_directory(compose, "daemon", empty_database)
    socket = directory / "providerd.sock"
    with subprocess.Popen(
        [PROVIDERD, "serve", "--listen", f"unix://{socket}", "--log-format", "json"],
        cwd=directory,
        env=clean_environment(),
        stderr=subprocess.PIPE,
        text=True,
    ) as daemon:
        try:
            assert daemon.stderr is not None
            lines = iter(daemon.stderr.readline, "")
            assert any('"serving"' in line for line in lines), "it ended"
            who = "SELECT DISTINCT usename FROM pg_stat_activity WHERE application_name = 'providerd'"
            assert psql(empty_database, "-c", f"{who} AND datname = current_database()").stdout.strip() == account
        finally:
            daemon.terminate()
            daemon.communicate(timeout=30)


def working_directory(compose: Path, account: str, database: str) -> Path:
    """A directory with a ``.env`` as the containers have it, but for the database of the test and its owner."""
    directory = compose / account
    directory.mkdir()
    text = (compose / f"secrets/{account}.env").read_text()
    assert "@/providerd?host=/var/run/postgresql\n" in text
    rest = database.partition("@")[2]
    text = text.replace("/providerd?host=/var/run/postgresql", rest).replace("//postgres:", "//providerd:")
    (directory / ".env").write_text(text)
    return directory


def is_scram_of(password: str, stored: str) -> bool:
    """Whether PostgreSQL's verifier is of this password: https://www.rfc-editor.org/rfc/rfc5802.html#section-3"""
    found = re.fullmatch(r"SCRAM-SHA-256\$(\d+):([^$]+)\$([^:]+):.*", stored)
    assert found is not None
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(found[2]), int(found[1]))
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    return base64.b64encode(hashlib.sha256(client_key).digest()).decode() == found[3]


def run(
    command: list[str | Path], *, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=cwd,
        env=clean_environment() if env is None else dict(env),
        # Without a terminal, as containers are.
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
