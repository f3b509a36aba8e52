"""What the doctor finds wrong with settings and files, without any database."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from access import AccessFile

from providerd_server.doctor import versions
from providerd_server.doctor.examination import Outcome
from providerd_server.settings import PUBLISHED_PASSPHRASE
from tests.certificates import Authority, replace
from tests.daemon import running_daemon
from tests.disks import Disk
from tests.integration.doctored import (
    NOWHERE,
    PASSPHRASE,
    PASSWORD,
    doctor,
    examined,
    is_told,
    printed,
    with_password,
)

OK, WARNING, PROBLEM, SKIPPED = Outcome.OK, Outcome.WARNING, Outcome.PROBLEM, Outcome.SKIPPED


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the settings are read: a directory without the .env of a developer."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


async def test_settings_that_are_wrong_are_all_named_and_the_rest_is_skipped() -> None:
    found = printed(doctor("--json", PROVIDERD_POOL_SIZE="0", PROVIDERD_LISTEN="nowhere"))
    is_told(found["settings"], PROBLEM, "PROVIDERD_LISTEN: must be host:port", "docs/reference/settings.md")
    assert "PROVIDERD_POOL_SIZE" in found["settings"].found
    assert {each.outcome for name, each in found.items() if name not in ("settings", "versions")} == {SKIPPED}
    assert doctor(PROVIDERD_POOL_SIZE="0").returncode == 1


async def test_a_setting_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROVIDERD_LISTN", "127.0.0.1:1")
    is_told((await examined(NOWHERE))["settings"], WARNING, "PROVIDERD_LISTN does not exist", "--print-config")


async def test_a_dotenv_that_others_may_read(directory: Path) -> None:
    dotenv = directory / ".env"
    dotenv.write_text(f"SUPABASE_DB_PASSWORD={PASSWORD}\nSUPABASE_DB_HOST=/nowhere\n")
    dotenv.chmod(0o644)
    is_told((await examined(NOWHERE))["settings"], WARNING, "other users may read", f"chmod 600 {dotenv}")
    dotenv.chmod(0o600)
    is_told((await examined(NOWHERE))["settings"], OK, "2 from .env", "")


async def test_development_over_a_database_of_ones_own() -> None:
    found = await examined(NOWHERE, dev=True, db_encryption_key=PUBLISHED_PASSPHRASE)
    is_told(found["settings"], WARNING, "PROVIDERD_DEV", "unset it")
    is_told(found["passphrase"], WARNING, "published default passphrase", "set DB_ENCRYPTION_KEY to a long random one")


@pytest.mark.parametrize("weak", [PUBLISHED_PASSPHRASE, "fifteen letters"])
async def test_a_passphrase_that_the_daemon_refuses(weak: str) -> None:
    found = await examined(NOWHERE, db_encryption_key=weak)
    is_told(found["passphrase"], PROBLEM, "keys are encrypted with", "`openssl rand -base64 32`")
    assert weak not in str(found)


@pytest.mark.parametrize(
    ("content", "mode", "told"),
    [
        (f"first = {PASSPHRASE}", 0o644, "is open to others: chmod 600"),
        (PASSPHRASE, 0o600, "is not `name = passphrase`"),
        (None, 0o600, "No such file"),
    ],
)
async def test_a_key_file_that_cannot_be_used(directory: Path, content: str | None, mode: int, told: str) -> None:
    file = directory / "keys"
    if content is not None:
        file.write_text(content)
        file.chmod(mode)
    env = {"DB_ENCRYPTION_KEY": "", "PROVIDERD_ENCRYPTION_KEYS_FILE": str(file)}
    found = printed(doctor("--json", SUPABASE_DB_URL=with_password(NOWHERE), **env))
    is_told(found["key ring"], PROBLEM, told, "PROVIDERD_ENCRYPTION_KEYS_FILE")
    assert found["passphrase"].outcome is SKIPPED


async def test_hosts_that_are_none() -> None:
    found = (await examined(NOWHERE, allowed_hosts="*"))["allowed hosts"]
    is_told(found, PROBLEM, "PROVIDERD_ALLOWED_HOSTS: ", "correct PROVIDERD_ALLOWED_HOSTS")


async def test_an_exposure_that_the_daemon_refuses() -> None:
    found = (await examined(NOWHERE, listen="0.0.0.0:50058"))["exposure"]
    is_told(found, PROBLEM, "refusing to listen on 0.0.0.0:50058", "set them, listen on loopback, or say --insecure")


async def test_exposures_that_were_asked_for(directory: Path) -> None:
    found = (await examined(NOWHERE, listen="0.0.0.0:50058", insecure=True))["exposure"]
    is_told(found, WARNING, "whoever reaches it may switch providers", "unset PROVIDERD_INSECURE")
    found = (await examined(NOWHERE, listen=f"unix://{directory}/s", socket_mode="666"))["exposure"]
    is_told(found, WARNING, "every user of this machine may switch", "PROVIDERD_SOCKET_MODE")


async def test_a_daemon_that_is_secured(directory: Path) -> None:
    access = AccessFile(directory / "access.json")
    access.token("billing", "read", expires=datetime.now(UTC) + timedelta(days=90))
    cert, key = Authority(directory).issue("daemon", "localhost", days=90)
    settings: dict[str, Any] = {"access_file": access.path, "tls_cert_file": cert, "tls_key_file": key}
    found = await examined(NOWHERE, listen="0.0.0.0:50058", **settings)
    is_told(found["exposure"], OK, "0.0.0.0:50058, with TLS and authentication", "")
    is_told(found["access file"], OK, "1 tokens, 0 certificates", "")
    is_told(found["tokens"], OK, "none of 1 ends within 14 days", "")
    is_told(found["certificate"], OK, f"{cert} is good until 20", "")


async def test_access_files_that_cannot_be_used(directory: Path) -> None:
    file = directory / "access.json"
    found = (await examined(NOWHERE, access_file=file))["access file"]
    is_told(found, PROBLEM, "does not exist", "`providerd token list`")
    file.write_text('{"tokens": [{"name": "a b", "sha256": "%s"}]}' % PASSWORD)  # noqa: UP031 - braces
    found = (await examined(NOWHERE, access_file=file))["access file"]
    is_told(found, PROBLEM, "is wrong: tokens.0", "PROVIDERD_ACCESS_FILE names it")
    file.chmod(0o666)
    found = (await examined(NOWHERE, access_file=file))["access file"]
    is_told(found, PROBLEM, "chmod go-w", "`providerd token list`")


async def test_an_access_file_that_knows_nobody(directory: Path) -> None:
    found = (await examined(NOWHERE, access_file=AccessFile(directory / "a.json").path))["access file"]
    is_told(found, WARNING, "knows nobody", "`providerd token create NAME --scope read`")


async def test_tokens_that_have_ended_or_soon_will(directory: Path) -> None:
    access, now = AccessFile(directory / "access.json"), datetime.now(UTC)
    secrets = [
        access.token("late", "read", expires=now - timedelta(days=1)),
        access.token("soon", "read", expires=now + timedelta(days=13)),
        access.token("fine", "read", expires=now + timedelta(days=15)),
    ]
    found = (await examined(NOWHERE, access_file=access.path))["tokens"]
    is_told(found, WARNING, "of late has expired", "`providerd token revoke late --id ")
    assert "of soon expires" in found.found
    assert "`providerd token create`" in found.hint
    assert "fine" not in found.found
    assert not any(secret in str(found) for secret in secrets)


@pytest.mark.parametrize(
    ("days", "outcome", "told"), [(-1, PROBLEM, "not now"), (29, WARNING, "expires on"), (31, OK, "is good until")]
)
async def test_a_certificate_that_ends(directory: Path, days: float, outcome: Outcome, told: str) -> None:
    cert, key = Authority(directory).issue("daemon", "localhost", days=days)
    found = (await examined(NOWHERE, tls_cert_file=cert, tls_key_file=key))["certificate"]
    is_told(found, outcome, told, "" if outcome is OK else "PROVIDERD_TLS_CERT_FILE")


async def test_a_certificate_that_is_not_valid_yet(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cert, key = Authority(directory).issue("daemon", "localhost", days=90)

    class Before(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(tz) - timedelta(days=30)

    monkeypatch.setattr("providerd_server.certificates.datetime", Before)
    found = (await examined(NOWHERE, tls_cert_file=cert, tls_key_file=key))["certificate"]
    is_told(found, PROBLEM, "not now", "PROVIDERD_TLS_CERT_FILE")


async def test_a_key_of_another_certificate_and_files_that_are_none(directory: Path) -> None:
    authority = Authority(directory)
    cert, _ = authority.issue("daemon", "localhost", days=90)
    _, other = authority.issue("other", "localhost", days=90)
    found = (await examined(NOWHERE, tls_cert_file=cert, tls_key_file=other))["certificate"]
    is_told(found, PROBLEM, "the key is another certificate's", "PROVIDERD_TLS_KEY_FILE")
    replace(cert, PASSWORD.encode())
    found = (await examined(NOWHERE, tls_cert_file=cert, tls_key_file=other))["certificate"]
    is_told(found, PROBLEM, "the certificate is not PEM", "PROVIDERD_TLS_CERT_FILE")


async def test_a_key_that_everybody_may_read(directory: Path) -> None:
    cert, key = Authority(directory).issue("daemon", "localhost", days=90)
    key.chmod(0o644)
    found = (await examined(NOWHERE, tls_cert_file=cert, tls_key_file=key))["certificate"]
    is_told(found, WARNING, "every user of this machine may read", f"chmod o-rw {key}")


async def test_authorities_of_clients_that_end(directory: Path) -> None:
    authority = Authority(directory)
    cert, key = authority.issue("daemon", "localhost", days=90)
    settings: dict[str, Any] = {"tls_cert_file": cert, "tls_key_file": key, "tls_client_ca_file": authority.ca_file}
    found = (await examined(NOWHERE, **settings))["certificate"]
    is_told(found, WARNING, "an authority of clients in", "replace PROVIDERD_TLS_CLIENT_CA_FILE")
    expired, _ = authority.issue("expired", "localhost", days=-1)
    found = (await examined(NOWHERE, **{**settings, "tls_client_ca_file": expired}))["certificate"]
    is_told(found, PROBLEM, "has expired on", "replace PROVIDERD_TLS_CLIENT_CA_FILE")


async def test_directories_of_sockets(directory: Path) -> None:
    place = directory / "run"
    found = (await examined(NOWHERE, listen=f"unix://{place}/d.sock"))["socket directory"]
    is_told(found, PROBLEM, f"{place} is not there", f"mkdir -p {place}")
    place.mkdir(mode=0o700)
    found = (await examined(NOWHERE, listen=f"unix://{place}/d.sock"))["socket directory"]
    is_told(found, OK, str(place), "")
    place.chmod(0o777)
    found = (await examined(NOWHERE, listen=f"unix://{place}/d.sock"))["socket directory"]
    is_told(found, WARNING, "everybody may replace", "chmod o-w")


async def test_a_directory_of_sockets_that_takes_none(disk: Disk) -> None:
    disk.freeze()
    try:
        found = (await examined(NOWHERE, listen=f"unix://{disk.path}/d.sock"))["socket directory"]
    finally:
        disk.thaw()
    is_told(found, PROBLEM, "this account cannot write to", "PROVIDERD_LISTEN")


def test_a_library_that_the_stubs_are_not_made_for(directory: Path) -> None:
    """Another protobuf is installed, as by a pip that was told to ignore what is required."""
    old = directory / "protobuf-3.20.3.dist-info"
    old.mkdir()
    (old / "METADATA").write_text("Metadata-Version: 2.1\nName: protobuf\nVersion: 3.20.3\n")
    found = printed(doctor("--json", SUPABASE_DB_URL=with_password(NOWHERE), PYTHONPATH=str(directory)))
    is_told(found["versions"], PROBLEM, "protobuf 3.20.3 is not <8,>=4.25", "pip install 'protobuf<8,>=4.25'")


def test_what_is_installed_is_what_is_required() -> None:
    assert versions.versions().outcome is OK


def replace_mode(path: Path, mode: int) -> None:
    path.chmod(mode)


@pytest.fixture
def data_dir(open_directory: Path) -> Path:
    return open_directory / "data"


def test_an_embedded_database_that_is_not_there_is_not_made(data_dir: Path) -> None:
    done = doctor("--json", "--data-dir", str(data_dir))
    found = printed(done)
    assert done.returncode == 1
    is_told(found["data directory"], PROBLEM, f"there is no embedded one in {data_dir}", "`providerd migrate up`")
    assert found["database"].outcome is SKIPPED
    assert not data_dir.exists()
    data_dir.mkdir()
    assert printed(doctor("--json", "--data-dir", str(data_dir)))["data directory"].outcome is PROBLEM
    assert list(data_dir.iterdir()) == []


def test_an_embedded_database_with_its_daemon_and_without(data_dir: Path) -> None:
    with running_daemon("", PROVIDERD_DATA_DIR=str(data_dir), DB_ENCRYPTION_KEY=PASSPHRASE) as daemon:
        while_running = doctor("--json", "--data-dir", str(data_dir), PROVIDERD_LISTEN=daemon.address)
        assert daemon.running
    afterwards = doctor("--json", "--data-dir", str(data_dir), PROVIDERD_LISTEN=daemon.address)
    assert (while_running.returncode, afterwards.returncode) == (0, 0), while_running.stdout + afterwards.stdout
    for found in (printed(while_running), printed(afterwards)):
        is_told(found["data directory"], OK, f"{data_dir}, ", "")
        is_told(found["server version"], WARNING, "PostgreSQL 18.1 has CVE", "set SUPABASE_DB_URL")
        is_told(found["migrations"], OK, "all 4 are applied", "")
        is_told(found["role's powers"], OK, "who owns the embedded database", "")
        is_told(found["active provider"], WARNING, "groq has no key", "`providerd set-key groq`")
    assert printed(while_running)["daemon's revision"].outcome is OK
    assert printed(afterwards)["daemon"].outcome is WARNING
    assert not any((data_dir / "run").iterdir()), "it runs still"


async def test_a_data_directory_that_is_open(data_dir: Path) -> None:
    cluster = data_dir / "cluster"
    cluster.mkdir(parents=True, mode=0o755)
    replace_mode(data_dir, 0o777)
    found = (await examined("", data_dir=data_dir))["data directory"]
    is_told(found, PROBLEM, f"{data_dir} is open to others (mode 0777)", f"chmod go-w {data_dir}")
    is_told(found, PROBLEM, f"{cluster} is open to others (mode 0755)", f"chmod g-w,o= {cluster}")


async def test_a_disk_without_room(disk: Disk) -> None:
    (disk.path / "cluster").mkdir(mode=0o700)
    found = (await examined("", data_dir=disk.path))["data directory"]
    is_told(found, PROBLEM, "only 0 MiB are free", "make room there")
