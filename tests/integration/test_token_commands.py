"""`providerd token`, by the real program."""

import hashlib
import json
import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.daemon import PROVIDERD, clean_environment


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "access.json"


def token(file: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROVIDERD, "token", *arguments],
        env={**clean_environment(), "PROVIDERD_ACCESS_FILE": str(file)},
        cwd=file.parent,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def content(file: Path) -> list[dict[str, object]]:
    entries: list[dict[str, object]] = json.loads(file.read_text())["tokens"]
    return entries


def test_a_token_is_shown_once_and_only_its_hash_is_kept(file: Path) -> None:
    made = token(file, "create", "billing", "--scope", "read", "--scope", "read-credential", "--expires", "90d")
    assert made.returncode == 0, made.stderr
    value = made.stdout.strip()
    assert value.startswith("providerd_")
    assert value not in made.stderr + file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    (entry,) = content(file)
    assert entry["name"] == "billing"
    assert sorted(entry["scopes"]) == ["read", "read-credential"]  # type: ignore[call-overload]
    assert entry["sha256"] == hashlib.sha256(value.encode()).hexdigest()
    assert entry["expires"] is not None
    listed = token(file, "list")
    assert "billing" in listed.stdout
    assert value not in listed.stdout + token(file, "list", "--json").stdout


def test_a_token_goes_to_a_file_of_its_owner(file: Path) -> None:
    out = file.with_name("billing.token")
    made = token(file, "create", "billing", "--scope", "read", "--out", str(out))
    assert made.returncode == 0, made.stderr
    assert made.stdout == ""
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert content(file)[0]["sha256"] == hashlib.sha256(out.read_text().strip().encode()).hexdigest()
    again = token(file, "create", "billing", "--scope", "read", "--out", str(out))
    assert again.returncode == 2
    assert "exists" in again.stderr.lower()
    assert len(content(file)) == 1, "a token that nobody was given must not be good"


def test_a_token_is_revoked_alone_or_with_its_principal(file: Path) -> None:
    for name in ("a", "a", "b"):
        token(file, "create", name, "--scope", "read")
    first = str(content(file)[0]["sha256"])[:12]
    assert token(file, "revoke", "a", "--id", first).returncode == 0
    assert [entry["name"] for entry in content(file)] == ["a", "b"]
    assert token(file, "revoke", "a").returncode == 0
    assert [entry["name"] for entry in content(file)] == ["b"]
    nobody = token(file, "revoke", "a")
    assert nobody.returncode == 3
    assert "token list" in nobody.stderr


def test_changes_at_the_same_time_are_all_kept(file: Path) -> None:
    names = [f"p{number}" for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda name: token(file, "create", name, "--scope", "read"), names))
    assert {each.returncode for each in made} == {0}
    assert sorted(str(entry["name"]) for entry in content(file)) == names


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["create", "two words", "--scope", "read"], "NAME must be"),
        (["create", "a", "--scope", "everything"], "everything"),
        (["create", "a"], "--scope"),
        (["create", "a", "--scope", "read", "--expires", "soon"], "--expires"),
        (["list"], "does not exist"),
    ],
)
def test_what_makes_no_sense_is_told_in_one_line(file: Path, arguments: list[str], says: str) -> None:
    done = token(file, *arguments)
    assert done.returncode == 2
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not file.exists()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"tokens": 1}',
        '{"token": []}',
        '{"tokens": [{"name": "a", "sha256": "my-secret", "scopes": ["read"]}]}',
    ],
)
def test_a_wrong_file_is_told_without_its_content(file: Path, text: str) -> None:
    file.write_text(text)
    file.chmod(0o600)
    done = token(file, "list")
    assert done.returncode == 2
    assert str(file) in done.stderr
    assert "my-secret" not in done.stderr
    assert token(file, "create", "a", "--scope", "read").returncode == 2
    assert file.read_text() == text


def test_a_file_that_others_may_write_lets_nobody_in(file: Path) -> None:
    token(file, "create", "a", "--scope", "read")
    file.chmod(0o620)
    done = token(file, "list")
    assert done.returncode == 2
    assert "chmod" in done.stderr
