"""Who runs the embedded PostgreSQL, and who gets in."""

import os
import pwd
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from providerd_server.embedded import EmbeddedError, EmbeddedPostgres, default_data_dir
from providerd_server.embedded.account import Account, choose_account

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as other accounts")

# Root's interpreter may be closed to others, so everything is loaded before root is given up.
NORMAL_USER = """
import os, pathlib, subprocess, sys
import email.parser, encodings.ascii
from providerd_server.embedded import EmbeddedPostgres
data_dir, uid = pathlib.Path(sys.argv[1]), int(sys.argv[2])
if uid != os.geteuid():
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
with EmbeddedPostgres(data_dir, account="root") as postgres:
    query = "SELECT rolname, system_user FROM pg_roles WHERE rolname = current_user"
    command = [postgres.binaries / "psql", "-XAt", "-d", postgres.dsn(), "-c", query]
    answer = subprocess.run(command, env=postgres.environment, capture_output=True, text=True, check=True).stdout
    print(os.stat(f"/proc/{postgres.pid}").st_uid, answer.strip(), file=sys.stderr)
"""


def run_as(postgres: EmbeddedPostgres, name: str) -> subprocess.CompletedProcess[str]:
    """Run psql as another account of this machine."""
    entry = pwd.getpwnam(name)
    return subprocess.run(
        [postgres.binaries / "psql", "-XAt", "-d", postgres.dsn(), "-c", "SELECT system_user"],
        env=dict(postgres.environment),
        cwd="/",
        user=entry.pw_uid,
        group=entry.pw_gid,
        extra_groups=[],
        capture_output=True,
        text=True,
        check=False,
    )


@needs_root
def test_other_users_are_refused_by_the_directory_and_by_the_server(open_directory: Path) -> None:
    with EmbeddedPostgres(open_directory / "data", account="nobody") as postgres:
        run = open_directory / "data" / "run"
        assert run_as(postgres, "nobody").stdout == "peer:nobody\n"
        assert run_as(postgres, "root").stdout == "peer:root\n"
        assert "Permission denied" in run_as(postgres, "daemon").stderr

        run.chmod(0o755)
        (run / ".s.PGSQL.5432").chmod(0o777)
        assert "Peer authentication failed" in run_as(postgres, "daemon").stderr


@needs_root
def test_the_owner_of_the_cluster_wins(open_directory: Path) -> None:
    daemon = pwd.getpwnam("daemon").pw_uid
    with EmbeddedPostgres(open_directory / "data", account="daemon") as postgres:
        assert Path(f"/proc/{postgres.pid}").stat().st_uid == daemon
    with EmbeddedPostgres(open_directory / "data", account="nobody") as postgres:
        assert Path(f"/proc/{postgres.pid}").stat().st_uid == daemon
        groups = Path(f"/proc/{postgres.pid}/status").read_text().split("Groups:")[1].splitlines()[0]
        assert groups.strip() == ""


def test_a_normal_user_runs_it_as_themselves(open_directory: Path) -> None:
    uid = os.geteuid() or pwd.getpwnam("nobody").pw_uid
    user = pwd.getpwuid(uid).pw_name
    wheel = find_spec("pg0")
    assert wheel is not None
    assert wheel.origin is not None
    if uid != os.geteuid() and Account(user, uid, uid).closed_directory(Path(wheel.origin).parent):
        pytest.skip(f"{user} cannot enter {Path(wheel.origin).parent}")
    home = open_directory / "home"
    home.mkdir()
    os.chown(home, uid, -1)
    done = subprocess.run(
        [sys.executable, "-c", NORMAL_USER, home / "data", str(uid)],
        capture_output=True,
        text=True,
        cwd=open_directory,
        check=False,
    )
    assert done.stderr == f"{uid} providerd|peer:{user}\n"
    assert {path.stat().st_uid for path in (home / "data").iterdir()} == {uid}
    assert (home / "data").stat().st_mode & 0o777 == 0o700


@needs_root
def test_a_closed_parent_is_named_and_nothing_is_made(open_directory: Path) -> None:
    closed = open_directory / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(EmbeddedError, match=rf"cannot enter {closed}: .*PROVIDERD_DATA_DIR"):
        EmbeddedPostgres(closed / "deeper" / "data", account="nobody").start()
    assert not any(closed.iterdir())


@needs_root
def test_made_parents_are_open_to_the_account_whatever_the_umask(open_directory: Path) -> None:
    before = os.umask(0o077)
    try:
        with EmbeddedPostgres(open_directory / "made" / "on" / "demand", account="nobody") as postgres:
            assert run_as(postgres, "nobody").returncode == 0
    finally:
        os.umask(before)


@needs_root
@pytest.mark.parametrize(("account", "reason"), [("no-such-account", "no account no-such-account"), ("root", "root")])
def test_an_account_that_cannot_run_it(open_directory: Path, account: str, reason: str) -> None:
    with pytest.raises(EmbeddedError, match=reason):
        EmbeddedPostgres(open_directory / "data", account=account).start()
    assert not (open_directory / "data").exists()


@needs_root
def test_a_cluster_of_root_and_a_cluster_of_a_nameless_user(open_directory: Path) -> None:
    cluster = open_directory / "cluster"
    cluster.mkdir()
    with pytest.raises(EmbeddedError, match=f"give {cluster} to an unprivileged account"):
        choose_account(cluster)
    nameless = 54_321
    os.chown(cluster, nameless, -1)
    with pytest.raises(EmbeddedError, match=r"user 54321 has no name"):
        choose_account(cluster)


@needs_root
def test_the_default_for_root_is_where_the_account_can_go(
    open_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(open_directory))
    assert default_data_dir() == open_directory / "providerd"
    open_directory.chmod(0o700)
    assert default_data_dir() == Path("/var/lib/providerd")
