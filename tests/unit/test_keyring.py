"""The key ring: where passphrases come from, what they are called, and which are too weak."""

import os
import re
from pathlib import Path
from typing import Any

import pytest

from providerd.secret import Secret
from providerd_server.errors import ConfigurationError
from providerd_server.settings import PUBLISHED_PASSPHRASE, load
from providerd_server.store.keyring import Keyring, check_passphrases, derive, load_keyring

OLD, NEW = "an old passphrase of good length", "a new passphrase of good length"


@pytest.fixture(autouse=True)
def _nothing_configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("DB_ENCRYPTION_KEY", "DB_ENCRYPTION_KEY_PREVIOUS", "PROVIDERD_ENCRYPTION_KEYS_FILE"):
        monkeypatch.delenv(name, raising=False)


def file_of(path: Path, content: str | bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(mode)
    return path


def ring_of(**settings: Any) -> Keyring:
    return load_keyring(load(**{name: Secret(value) for name, value in settings.items()}))


def refusal(path: Path) -> str:
    with pytest.raises(ConfigurationError) as refused:
        load_keyring(load(encryption_keys_file=path))
    message = str(refused.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def test_the_current_passphrase_comes_first_and_the_previous_one_still_opens() -> None:
    ring = ring_of(db_encryption_key=NEW, db_encryption_key_previous=OLD)
    assert [key.passphrase.reveal() for key in ring.keys] == [NEW, OLD]
    assert ring.current == ring.keys[0]
    assert [key.origin for key in ring.keys] == ["DB_ENCRYPTION_KEY", "DB_ENCRYPTION_KEY_PREVIOUS"]


def test_the_same_passphrase_twice_is_one_key() -> None:
    assert len(ring_of(db_encryption_key=NEW, db_encryption_key_previous=NEW).keys) == 1


def test_the_environment_is_where_they_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_ENCRYPTION_KEY", NEW)
    monkeypatch.setenv("DB_ENCRYPTION_KEY_PREVIOUS", OLD)
    assert load_keyring(load()) == ring_of(db_encryption_key=NEW, db_encryption_key_previous=OLD)


def test_an_id_is_made_from_the_passphrase_and_stays_the_same() -> None:
    # Stored in databases: another value here would orphan every key in them.
    assert derive(Secret(NEW), "a test").id == "k-0e17f7c3"
    assert re.fullmatch(r"k-[0-9a-f]{8}", derive(Secret(OLD), "a test").id)
    assert derive(Secret(OLD), "a test").id != derive(Secret(NEW), "a test").id


def test_the_id_says_nothing_of_the_seal() -> None:
    key = derive(Secret(NEW), "a test")
    assert key.tag.removeprefix("k-") not in key.seal.reveal()
    assert len(key.seal.reveal()) == 64


def test_no_secret_shows() -> None:
    ring = ring_of(db_encryption_key=NEW)
    for shown in (repr(ring), str(ring), f"{ring}"):
        assert NEW not in shown
        assert ring.current.seal.reveal() not in shown


def test_a_file_holds_named_keys_and_the_first_encrypts(tmp_path: Path) -> None:
    text = f"# rotated in spring\n\n  2026-b = {NEW} \n2026-a={OLD}=with#all of it\n"
    ring = load_keyring(load(encryption_keys_file=file_of(tmp_path / "keys", text)))
    assert [key.id for key in ring.keys] == ["2026-b", "2026-a"]
    assert ring.current.passphrase.reveal() == NEW
    assert ring.keys[1].passphrase.reveal() == f"{OLD}=with#all of it"


def test_a_key_is_found_by_its_name_and_by_its_tag(tmp_path: Path) -> None:
    ring = load_keyring(load(encryption_keys_file=file_of(tmp_path / "keys", f"spring = {NEW}\n")))
    assert ring.find("spring") == ring.current
    # What was stored while the passphrase had no name.
    assert ring.find(ring_of(db_encryption_key=NEW).current.id) == ring.current
    assert ring.find("autumn") is None
    assert ring.find(None) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file to another account")
def test_a_file_of_another_account_may_be_open_to_a_group_alone(tmp_path: Path) -> None:
    path = file_of(tmp_path / "keys", f"a = {NEW}\n", 0o440)
    os.chown(path, 65534, 0)
    assert load_keyring(load(encryption_keys_file=path)).current.id == "a"
    path.chmod(0o444)
    with pytest.raises(ConfigurationError, match="open to others"):
        load_keyring(load(encryption_keys_file=path))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_a_file_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    path = file_of(tmp_path / "keys", f"a = {NEW}\n", mode)
    assert f"chmod 600 {path}" in refusal(path)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (f"{NEW}\n", "line 1 of"),
        (f"# keys\na = {NEW}\nb =\n", "line 3 of"),
        (f"= {NEW}\n", "line 1 of"),
        (f"a b = {NEW}\n", "line 1 of"),
        (f"{'a' * 65} = {NEW}\n", "line 1 of"),
        ("# nothing\n", "holds none"),
        ("", "holds none"),
        (b"a = \xff\n", "not UTF-8"),
        (f"a = {NEW}\0\n", "holds a NUL"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_without_its_content(
    tmp_path: Path, content: str | bytes, problem: str
) -> None:
    message = refusal(file_of(tmp_path / "keys", content))
    assert problem in message
    assert NEW not in message


@pytest.mark.parametrize(
    "content",
    [
        f"a = {NEW}\na = {OLD}\n",
        f"a = {NEW}\nb = {NEW}\n",
        f"a = {NEW}\nk-0e17f7c3 = {OLD}\n",
    ],
)
def test_two_keys_of_one_name_are_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(ConfigurationError, match="two encryption keys go by"):
        load_keyring(load(encryption_keys_file=file_of(tmp_path / "keys", content)))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "none")


@pytest.mark.parametrize("name", ["DB_ENCRYPTION_KEY", "DB_ENCRYPTION_KEY_PREVIOUS"])
def test_a_file_and_a_passphrase_beside_it_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, NEW)
    with pytest.raises(ConfigurationError, match="not both"):
        load_keyring(load(encryption_keys_file=file_of(tmp_path / "keys", f"a = {NEW}\n")))


@pytest.mark.parametrize("passphrase", ["a lone \ud800 surrogate", "a NUL \0 inside", ""])
def test_a_passphrase_that_postgresql_would_not_take_is_refused(passphrase: str) -> None:
    with pytest.raises(ConfigurationError, match="the passphrase of DB_ENCRYPTION_KEY"):
        ring_of(db_encryption_key=passphrase)


@pytest.mark.parametrize(("weak", "why"), [(PUBLISHED_PASSPHRASE, "published"), ("fifteen letters", "less than 16")])
def test_a_weak_passphrase_encrypts_in_development_only(weak: str, why: str) -> None:
    ring = ring_of(db_encryption_key=weak)
    with pytest.raises(ConfigurationError, match=why) as refused:
        check_passphrases(ring, development=False)
    assert "set DB_ENCRYPTION_KEY" in str(refused.value)
    assert weak not in str(refused.value)
    assert check_passphrases(ring, development=True) == [str(refused.value)]


@pytest.mark.parametrize("weak", [PUBLISHED_PASSPHRASE, "short"])
def test_a_weak_passphrase_may_be_the_previous_one(weak: str) -> None:
    ring = ring_of(db_encryption_key=NEW, db_encryption_key_previous=weak)
    assert check_passphrases(ring, development=False) == []


def test_sixteen_characters_are_enough() -> None:
    assert check_passphrases(ring_of(db_encryption_key="sixteen letters!"), development=False) == []
