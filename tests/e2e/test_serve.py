"""`providerd serve` as an operator meets it: on nothing, twice, configured, and told to stop."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.daemon import PROVIDERD, clean_environment, running_daemon
from tests.integration.serving import free_port


def providerd(*arguments: str, input_: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROVIDERD, *arguments],
        env={**clean_environment(), **env},
        cwd="/",
        input=input_,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


@pytest.fixture
def data_dir(open_directory: Path) -> Path:
    return open_directory / "data"


def test_on_nothing_it_serves_the_seeded_providers_and_leaves_nothing_running(data_dir: Path) -> None:
    with running_daemon("", PROVIDERD_DATA_DIR=str(data_dir)) as daemon:
        said = providerd("get", PROVIDERD_SERVER=daemon.address)
        assert said.returncode == 0, said.stderr
        assert "groq" in said.stdout
        postmaster = int((data_dir / "cluster" / "postmaster.pid").read_text().split()[0])
        sync = providerd("psql", "--", "-Atc", "SHOW fsync", PROVIDERD_DATA_DIR=str(data_dir))
        assert sync.stdout.strip() == "on", sync.stderr
        assert daemon.stop() == 0
    with pytest.raises(ProcessLookupError):
        os.kill(postmaster, 0)


def test_what_was_changed_is_there_after_a_restart(data_dir: Path) -> None:
    with running_daemon("", PROVIDERD_DATA_DIR=str(data_dir)) as daemon:
        assert providerd("enable", "chatgpt", PROVIDERD_SERVER=daemon.address).returncode == 0
        assert providerd("switch", "chatgpt", PROVIDERD_SERVER=daemon.address).returncode == 0
    with running_daemon("", PROVIDERD_DATA_DIR=str(data_dir)) as daemon:
        assert "chatgpt" in providerd("get", PROVIDERD_SERVER=daemon.address).stdout


def test_other_commands_share_the_database_of_a_running_daemon_but_a_second_daemon_does_not(data_dir: Path) -> None:
    environment = {"PROVIDERD_DATA_DIR": str(data_dir)}
    with running_daemon("", **environment) as daemon:
        status = providerd("migrate", "status", **environment)
        assert status.returncode == 0, status.stderr
        assert "001_create_llm_provider_configs.sql" in status.stdout
        update = "UPDATE llm_provider_configs SET default_model = 'from-psql' WHERE is_active"
        assert providerd("psql", "--", "-qc", update, **environment).returncode == 0
        assert "from-psql" in providerd("get", PROVIDERD_SERVER=daemon.address).stdout
        second = providerd("serve", "--listen", f"127.0.0.1:{free_port()}", **environment)
        assert second.returncode != 0
        assert f"is in use by process {daemon.pid}" in second.stderr
        assert [line for line in second.stderr.splitlines() if not line.startswith("{")] == second.stderr.splitlines()[
            -1:
        ]
        assert daemon.running


def test_a_second_daemon_on_the_same_port_refuses_to_start(database: str) -> None:
    with running_daemon(database) as daemon:
        second = providerd("serve", "--dev", "--listen", daemon.address, SUPABASE_DB_URL=database)
        assert second.returncode != 0
        assert f"error: cannot listen on {daemon.address}: Address already in use" in second.stderr
        # Nothing but warnings of ours before it: gRPC's own lines would only repeat it.
        assert all(line.startswith(("{", "error: ")) for line in second.stderr.splitlines())
        assert daemon.running


def test_a_unix_socket_serves_as_well(database: str, tmp_path: Path) -> None:
    address = f"unix://{tmp_path}/providerd.sock"
    with running_daemon(database, PROVIDERD_LISTEN=address):
        assert "groq" in providerd("get", PROVIDERD_SERVER=address).stdout


def test_a_second_daemon_on_the_same_unix_socket_refuses_to_start(database: str, tmp_path: Path) -> None:
    address = f"unix://{tmp_path}/providerd.sock"
    with running_daemon(database, PROVIDERD_LISTEN=address) as daemon:
        second = providerd("serve", "--dev", "--listen", address, SUPABASE_DB_URL=database)
        assert second.returncode != 0
        assert "another daemon has it" in second.stderr
        daemon.kill()
    with running_daemon(database, PROVIDERD_LISTEN=address):
        assert "groq" in providerd("get", PROVIDERD_SERVER=address).stdout


def test_print_config_shows_every_setting_with_its_source_and_no_secret(tmp_path: Path) -> None:
    said = providerd(
        "serve",
        "--log-level",
        "debug",
        "--print-config",
        SUPABASE_DB_URL="postgresql://u:canary-password@h/db",
        DB_ENCRYPTION_KEY="canary-passphrase",
    )
    assert said.returncode == 0, said.stderr
    rows = {cells[0]: cells[1:] for line in said.stdout.splitlines() if (cells := line.split())}
    assert rows["PROVIDERD_LOG_LEVEL"] == ["debug", "flag"]
    assert rows["SUPABASE_DB_URL"][-1] == "environment"
    assert rows["PROVIDERD_LISTEN"] == ["127.0.0.1:50051", "default"]
    assert "canary" not in said.stdout + said.stderr


LOCAL = "postgresql://u@127.0.0.1:1/d"
ELSEWHERE = {"PROVIDERD_LISTEN": "nohost.invalid:1", "SUPABASE_DB_URL": LOCAL, "DB_ENCRYPTION_KEY": "canary-" * 4}


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"PROVIDERD_LISTEN": "nonsense"}, "PROVIDERD_LISTEN: must be host:port"),
        ({"SUPABASE_DB_URL": "mysql://canary@h/d"}, "SUPABASE_DB_URL must start with postgresql://"),
        ({"PROVIDERD_DATA_DIR": "/proc/nowhere"}, "/proc/nowhere"),
        ({**ELSEWHERE, "PROVIDERD_INSECURE": "true"}, "cannot listen on nohost.invalid:1"),
        (ELSEWHERE, "refusing to listen on nohost.invalid:1, beyond this machine, without TLS"),
        ({"SUPABASE_DB_URL": LOCAL}, "published default passphrase"),
        ({"SUPABASE_DB_URL": LOCAL, "DB_ENCRYPTION_KEY": "canary-short"}, "less than 16 characters"),
        ({"PROVIDERD_ALLOWED_HOSTS": "10.0.0.0/33"}, "PROVIDERD_ALLOWED_HOSTS"),
        ({"PROVIDERD_TLS_CERT_FILE": "/nowhere.pem"}, "PROVIDERD_TLS_KEY_FILE"),
        ({"PROVIDERD_ACCESS_FILE": "/nowhere.json"}, "`providerd token create` makes it"),
    ],
)
def test_what_cannot_start_says_why_in_one_line(env: dict[str, str], said: str) -> None:
    done = providerd("serve", **env)
    assert done.returncode != 0
    assert said in done.stderr
    # Nothing but warnings of ours before it.
    assert [line for line in done.stderr.splitlines() if not line.startswith("{")] == done.stderr.splitlines()[-1:]
    assert "canary" not in done.stderr


def test_a_misspelt_setting_is_told_of(database: str) -> None:
    with running_daemon(database, PROVIDERD_LISTNE="1") as daemon:
        daemon.stop()
        assert '"name": "PROVIDERD_LISTNE"' in daemon.log.read_text()


def test_a_migration_without_a_database_is_unavailable() -> None:
    done = providerd("migrate", "up", SUPABASE_DB_URL="postgresql://u:canary@127.0.0.1:1/d")
    assert done.returncode == 7
    assert done.stderr.startswith("error: cannot connect to the database")
    assert "canary" not in done.stderr


def test_sigint_ends_it_cleanly_too(database: str) -> None:
    with running_daemon(database) as daemon:
        assert daemon.stop(signal.SIGINT) == 0
