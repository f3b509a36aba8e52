"""What the doctor finds of a sidecar: its upstream, its token, its file, and whether it runs."""

import time
from pathlib import Path
from typing import Any

import pytest
from access import AccessFile
from serving import free_port, serving

from providerd.provider import Revision
from providerd.seal import Seal
from providerd.secret import Secret
from providerd.snapshot import Snapshot
from providerd.snapshot_file import SnapshotFile
from providerd_server.doctor.checks import of_sidecar
from providerd_server.doctor.examination import Outcome, examine
from providerd_server.doctor.sidecar import SidecarCase
from tests.certificates import Authority
from tests.integration.doctored import (
    API_KEY,
    PASSPHRASE,
    Findings,
    doctor,
    eventually,
    is_told,
    printed,
    proxied,
    sound,
    store_key,
    through,
)
from tests.integration.sidecars import sidecar_of

OK, WARNING, PROBLEM, SKIPPED = Outcome.OK, Outcome.WARNING, Outcome.PROBLEM, Outcome.SKIPPED

NAMES = [
    "versions", "settings", "exposure", "access file", "certificate", "upstream", "upstream's keys",
    "last-known-good file", "sidecar", "sidecar's answers",
]  # fmt: skip


async def examined(*upstream: str, **flags: Any) -> Findings:
    """What the doctor finds of a sidecar with these settings."""
    given = {"upstream": list(upstream), "listen": f"127.0.0.1:{free_port()}", **flags}
    return sound(await examine(of_sidecar(SidecarCase(given)), debug=True))


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


async def test_all_is_well(database: str, directory: Path) -> None:
    await store_key(database, "groq")
    file = directory / "own" / "last"
    async with serving(database, db_encryption_key=PASSPHRASE) as daemon:
        settings: dict[str, Any] = {"include_credential": True, "snapshot_file": file}
        async with sidecar_of(daemon.address, **settings) as sidecar:
            found = await eventually(
                lambda: examined(daemon.address, listen=sidecar.address, **settings), "last-known-good file", OK
            )
    assert {each.outcome for each in found.values()} == {OK}, found
    assert [name for name in found if name != "socket directory"] == NAMES
    is_told(found["upstream"], OK, f"{daemon.address} by plain, showing none: revision 2", "")
    is_told(found["upstream's keys"], OK, "revision 2", "")
    is_told(found["last-known-good file"], OK, f"{file}, 0:00:0", "")
    is_told(found["sidecar"], OK, f"serves at {sidecar.address}", "")
    is_told(found["sidecar's answers"], OK, "revision 2, verified", "")


async def test_it_is_a_sidecar_where_an_upstream_is_set_and_where_it_is_told(directory: Path) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    told = doctor("--json", PROVIDERD_UPSTREAM=nobody, PROVIDERD_LISTEN="127.0.0.1:50057")
    assert told.returncode == 1
    is_told(printed(told)["upstream"], PROBLEM, nobody, "PROVIDERD_UPSTREAM")
    (directory / ".env").write_text(f"PROVIDERD_UPSTREAM={nobody}\n")
    (directory / ".env").chmod(0o600)
    assert "upstream" in printed(doctor("--json"))
    assert "database" in printed(doctor("--json", "--daemon", "--data-dir", str(directory / "none")))
    (directory / ".env").unlink()
    found = printed(doctor("--json", "--sidecar"))
    is_told(found["settings"], PROBLEM, "PROVIDERD_UPSTREAM", "docs/reference/settings.md")
    assert found["upstream"].outcome is SKIPPED


async def test_an_upstream_that_is_away_takes_bounded_time() -> None:
    began = time.monotonic()
    found = await examined(f"127.0.0.1:{free_port()}")
    assert time.monotonic() - began < 10
    is_told(found["upstream"], PROBLEM, "cannot reach the daemon", "PROVIDERD_UPSTREAM")
    assert found["upstream's keys"].outcome is SKIPPED
    is_told(found["sidecar"], WARNING, "nobody answers", "`providerd sidecar` starts one")
    is_told(found["sidecar's answers"], SKIPPED, "no sidecar answers", "`providerd sidecar`")


async def test_tls_and_tokens_of_the_upstream(database: str, directory: Path) -> None:
    authority = Authority(directory)
    cert, key = authority.issue("daemon", "localhost", days=90)
    access = AccessFile(directory / "access.json")
    reader, dashboard = access.token("sidecar", "read", "read-credential"), access.token("dashboard", "read")
    settings: dict[str, Any] = {"tls_cert_file": cert, "tls_key_file": key, "access_file": access.path}
    way: dict[str, Any] = {"ca_file": authority.ca_file, "include_credential": True}
    stranger = Authority(directory, "stranger").ca_file
    async with serving(database, ready=False, address=f"localhost:{free_port()}", **settings) as daemon:
        found = await eventually(lambda: examined(daemon.address, token=Secret(reader), **way), "upstream", OK)
        is_told(found["upstream"], OK, "by TLS, showing token: revision 1", "")
        is_told(found["upstream's keys"], OK, "revision 1", "")
        found = await examined(daemon.address, token=Secret(dashboard), **way)
        is_told(found["upstream"], OK, "revision 1", "")
        is_told(found["upstream's keys"], PROBLEM, "read-credential", "a token with the scope read")
        found = await examined(daemon.address, token=Secret("providerd_unknown"), **way)
        is_told(found["upstream"], PROBLEM, "token", "set PROVIDERD_TOKEN_FILE")
        assert "providerd_unknown" not in str(found)
        found = await examined(daemon.address, token=Secret(reader), ca_file=stranger)
        is_told(found["upstream"], PROBLEM, daemon.address, "the settings of TLS")
        assert reader not in str(found)


async def test_a_token_that_would_cross_the_network_in_clear() -> None:
    found = await examined("192.0.2.1:1", token=Secret(API_KEY))
    is_told(found["upstream"], PROBLEM, "in clear", "insecure")


async def test_an_upstream_that_is_stale(database: str) -> None:
    async with proxied(database) as proxy, serving(through(proxy, database), role=None, stale_after=0.5) as daemon:
        proxy.hold()
        found = await eventually(lambda: examined(daemon.address), "upstream", WARNING)
        is_told(found["upstream"], WARNING, "stale, verified", "`providerd doctor` on its machine")
        proxy.reset()
        proxy.release()


async def test_a_file_that_is_not_there_yet(directory: Path) -> None:
    found = (await examined("127.0.0.1:1", snapshot_file=directory / "last"))["last-known-good file"]
    is_told(found, WARNING, "is not there yet", "start the sidecar while its upstream is up")
    assert not has(directory / "last")


async def test_files_that_cannot_be_used(directory: Path) -> None:
    file = write(directory / "last", taken=time.time())
    file.chmod(0o644)
    found = (await examined("127.0.0.1:1", snapshot_file=file))["last-known-good file"]
    is_told(found, PROBLEM, "is open to other users (mode 0644)", "remove the file")
    file.write_bytes(file.read_bytes()[:-9])
    file.chmod(0o600)
    found = (await examined("127.0.0.1:1", snapshot_file=file))["last-known-good file"]
    is_told(found, PROBLEM, "is damaged", "the sidecar writes it anew")
    write(file, taken=time.time(), key=PASSPHRASE)
    found = await examined("127.0.0.1:1", snapshot_file=file, snapshot_key=Secret("another of the tests"))
    is_told(found["last-known-good file"], PROBLEM, "was written with another snapshot_key", "remove the file")
    found = await examined("127.0.0.1:1", snapshot_file=file, snapshot_key=Secret(PASSPHRASE))
    assert found["last-known-good file"].outcome is OK


async def test_a_file_that_is_too_old(directory: Path) -> None:
    file = write(directory / "last", taken=time.time() - 8 * 86400)
    found = (await examined("127.0.0.1:1", snapshot_file=file))["last-known-good file"]
    is_told(found, WARNING, "is 8 days, 0:00:0", "PROVIDERD_SNAPSHOT_MAX_AGE")
    write(file, taken=time.time() + 3600)
    found = (await examined("127.0.0.1:1", snapshot_file=file))["last-known-good file"]
    is_told(found, WARNING, "is from the future", "NTP")


def has(path: Path) -> bool:
    return path.exists()


def write(path: Path, *, taken: float, key: str = "") -> Path:
    seal = Seal(Secret(key)) if key else None
    SnapshotFile(path, seal).write(
        Snapshot(Revision("00000000-0000-0000-0000-000000000000", 7), None, None, taken, 0.0)
    )
    return path
