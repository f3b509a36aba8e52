"""Certificates and tokens in files: what is refused at first, and what survives a broken replacement."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from providerd import Client, ClientOptions, files
from providerd.credentials import Credentials
from providerd.handshake import explain
from tests.certificates import Authority, replace

CANARY = "canary-77ab"


@pytest.fixture(params=["settled", "just written"])
def clock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has files count as written long ago, or else as they are here: just now, so that they are read each time."""
    if request.param == "settled":
        monkeypatch.setattr(files, "_SETTLED_NS", 0)


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    replace(path, f"{CANARY}\n".encode())
    return path


def credentials(**options: Any) -> Credentials:
    return Credentials(ClientOptions(**options))


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


def test_a_token_is_sent_as_rfc_6750_has_it(token_file: Path) -> None:
    assert credentials(token="abc").metadata() == bearer("abc")
    assert credentials(token_file=token_file).metadata() == bearer(CANARY)
    assert credentials(token_file=str(token_file)).metadata() == bearer(CANARY)
    assert credentials().metadata() == ()


def test_a_token_is_replaced_with_its_file_even_by_one_of_equal_size_and_time(token_file: Path) -> None:
    shown = credentials(token_file=token_file)
    before = token_file.stat()
    token_file.write_text("\n other-77abc \r\n"[: before.st_size])
    os.utime(token_file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert token_file.stat().st_size == before.st_size
    assert shown.metadata() == bearer("other-77abc"[: before.st_size - 2].strip())


@pytest.mark.usefixtures("clock")
def test_a_token_is_replaced_where_a_link_moves_on_as_in_kubernetes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        replace(tmp_path / name / "token", name.encode())
    link = tmp_path / "current"
    link.symlink_to("one")
    shown = credentials(token_file=link / "token")
    (tmp_path / "new").symlink_to("two")
    (tmp_path / "new").replace(link)
    assert shown.metadata() == bearer("two")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"canary-1\ncanary-2\n", "no line breaks"),
        (b"canary 1", "no line breaks"),
        ("canary-é".encode(), "only letters"),
        (b"\xff\xfecanary", "only letters"),
        (b"canary\x00", "only letters"),
        (b"canary" * 700, "longer than 4,000"),
        (b"canary" * 800_000, "larger than 4194304 bytes"),
    ],
)
def test_a_broken_token_is_refused_at_first_and_later_only_told_of_once(
    token_file: Path, caplog: pytest.LogCaptureFixture, content: bytes, problem: str
) -> None:
    shown = credentials(token_file=token_file)
    replace(token_file, content)
    with pytest.raises(ValueError, match=problem) as refused:
        Client(token_file=token_file)
    for _ in range(3):
        assert shown.metadata() == bearer(CANARY)
    replace(token_file, b"good-again")
    assert shown.metadata() == bearer("good-again")
    replace(token_file, content)
    assert shown.metadata() == bearer("good-again")
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert f"token_file {str(token_file)!r}" in caplog.records[0].getMessage()
    assert problem in caplog.text
    assert "canary" not in str(refused.value) + caplog.text


@pytest.mark.usefixtures("clock")
def test_a_file_that_is_gone_for_a_while_is_told_of_once(token_file: Path, caplog: pytest.LogCaptureFixture) -> None:
    shown = credentials(token_file=token_file)
    token_file.unlink()
    assert shown.metadata() == shown.metadata() == bearer(CANARY)
    (record,) = caplog.records
    assert "cannot be read: No such file or directory; what was in use stays in use" in record.getMessage()
    replace(token_file, b"back")
    assert shown.metadata() == bearer("back")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o777])
def test_a_token_of_this_user_must_be_closed_to_others(token_file: Path, mode: int) -> None:
    token_file.chmod(mode)
    with pytest.raises(ValueError, match=rf"is open to other users \(mode {mode:04o}\): chmod 600 it$"):
        Client(token_file=token_file)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_a_token_of_another_user_is_that_users_business(token_file: Path) -> None:
    token_file.chmod(0o444)
    os.chown(token_file, 65534, 65534)
    assert credentials(token_file=token_file).metadata() == bearer(CANARY)


def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(ValueError, match=r"not a regular file|Is a directory"):
            Client(token_file=path)


@pytest.mark.usefixtures("clock")
def test_certificates_are_new_only_when_their_files_are(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    authority = Authority(tmp_path)
    cert_file, key_file = authority.issue("worker", "worker.example")
    given = {"ca_file": authority.ca_file, "cert_file": cert_file, "key_file": key_file}
    held = credentials(**given)
    assert not held.refresh()
    authority.issue("worker", "worker.example")
    assert held.refresh()
    assert not held.refresh()

    replace(cert_file, b"garbage")
    assert [held.refresh(), held.refresh()] == [False, False]
    (record,) = caplog.records
    assert f"cert_file {str(cert_file)!r} and key_file {str(key_file)!r} are not" in record.getMessage()
    authority.issue("worker", "worker.example")
    assert held.refresh()


def test_broken_certificates_are_refused_at_first(tmp_path: Path) -> None:
    authority, other = Authority(tmp_path), Authority(tmp_path, "other")
    cert_file, key_file = authority.issue("worker", "worker.example")
    _, stranger = other.issue("stranger", "stranger.example")
    for name, content in {"empty": b"", "garbage": b"garbage", "cut": cert_file.read_bytes()[:200]}.items():
        replace(tmp_path / name, content)
        with pytest.raises(ValueError, match=rf"^ca_file '.*{name}' holds no certificates in PEM$"):
            Client(ca_file=tmp_path / name)
        for broken in ({"cert_file": tmp_path / name}, {"key_file": tmp_path / name}, {"key_file": stranger}):
            with pytest.raises(ValueError, match=r"are not a certificate in PEM and its unencrypted private key$"):
                Client(**{"cert_file": cert_file, "key_file": key_file, **broken})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^ca_file '/nowhere' cannot be read: No such file or directory$"):
        Client(ca_file="/nowhere")
    key_file.chmod(0o644)
    with pytest.raises(ValueError, match=r"^key_file .* is open to other users"):
        Client(cert_file=cert_file, key_file=key_file)


def test_a_key_with_a_passphrase_is_refused_and_nobody_is_asked_for_it(tmp_path: Path) -> None:
    cert_file, key_file = Authority(tmp_path).issue("worker", "worker.example")
    key = serialization.load_pem_private_key(key_file.read_bytes(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
    )
    replace(key_file, locked)
    script = f"import providerd; providerd.Client(cert_file={str(cert_file)!r}, key_file={str(key_file)!r})"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False, start_new_session=True
    )
    assert "its unencrypted private key" in done.stderr
    assert "pass phrase" not in done.stdout + done.stderr


NOT_VERIFIED, OTHER_NAME = "CERTIFICATE_NOT_VERIFIED", "CERTIFICATE_NAME_MISMATCH"
AWAY = "failed to connect to all addresses; last error: UNAVAILABLE: ipv4:10.0.0.1:1: "


@pytest.mark.parametrize(
    ("details", "reason", "says"),
    [
        # As grpcio 1.85 has it, and 1.62.
        (
            "x: CERTIFICATE_VERIFY_FAILED: certificate has expired: OK",
            NOT_VERIFIED,
            "(certificate has expired): ca_file",
        ),
        ("x: SSL_ERROR_SSL: error:1000007d: CERTIFICATE_VERIFY_FAILED", NOT_VERIFIED, "verified: ca_file"),
        ("x: UNAUTHENTICATED: Hostname Verification Check failed.", OTHER_NAME, "tls_server_name"),
        ("x: Peer name 127.0.0.1 is not in peer certificate", OTHER_NAME, "tls_server_name"),
        ("x: SSL_ERROR_SSL: error:100000f7: WRONG_VERSION_NUMBER", "NO_TLS", "connect without TLS"),
    ],
)
def test_a_handshake_that_fails_is_told_with_what_to_do(details: str, reason: str, says: str) -> None:
    found, message = explain(details, "x:1", "TLS")
    assert found == reason
    assert "daemon at x:1 " in message
    assert says in message


@pytest.mark.parametrize(
    ("details", "transport", "hint"),
    [
        (f"{AWAY}Socket closed", "plain", "; it may speak TLS: turn on tls or give ca_file"),
        (f"{AWAY}Connection reset by peer", "plain", "; it may speak TLS: turn on tls or give ca_file"),
        (f"{AWAY}Socket closed", "TLS", "; it may want a certificate of this client: give cert_file and key_file"),
        (f"{AWAY}Socket closed", "mutual TLS", "; it may not trust the certificate in cert_file"),
        (f"{AWAY}Socket closed", "unix socket", ""),
        (f"{AWAY}Connection refused", "plain", ""),
        ("Socket closed", "plain", ""),  # by a daemon that had answered before
    ],
)
def test_who_hangs_up_at_once_may_expect_another_handshake(details: str, transport: str, hint: str) -> None:
    assert explain(details, "x:1", transport) == ("", f"cannot reach the daemon at x:1: {details}{hint}")
