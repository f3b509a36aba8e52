"""The bytes of a last-known-good file: what comes back from them, and that nothing else ever does."""

import base64
import hashlib
import json
import math
import os
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providerd import Client, ClientOptions, Credential, Provider, Revision, Secret
from providerd.cache import Cache
from providerd.seal import Seal
from providerd.snapshot import Snapshot
from tests.unit.sdk_messages import STORE, active, provider

API_KEY = "canary-4be1"
PASSPHRASE = Secret("canary-passphrase-93d7")
SEAL = Seal(PASSPHRASE)


def rich() -> Provider:
    message = provider(context_window_tokens=131072, config_version=3, has_key=True, description="naïve\n\u2028")
    message.request_builder_config.update({"deep": {"list": [1, 2.5, 1e300, {"x": None}], "on": True}})
    message.additional_headers.update({})
    message.supported_models.extend(["a", "b"])
    message.create_time.FromJsonString("2026-03-01T10:20:30.5Z")
    return Provider.from_proto(message)


FULL = Snapshot(Revision(STORE, 7), rich(), Credential(API_KEY), taken=1_750_000_000.5, age=2.25)
OPEN = FULL.encode(None)
SEALED = FULL.encode(SEAL)


def with_state(**changes: Any) -> bytes:
    """A file with another state and a checksum that matches, as only another program would write it."""
    _, _, rest = OPEN.partition(b"\n")
    state = {**json.loads(rest.split(b"\n")[0]), **changes}
    return checked(json.dumps(state).encode())


def checked(state: bytes, sealed: bytes = b"", number: int = 1) -> bytes:
    checksum = hashlib.sha256(b"%d\n%b\n%b\n" % (number, state, sealed)).hexdigest().encode()
    return b"providerd-snapshot %d %b\n%b\n%b\n" % (number, checksum, state, sealed)


def test_what_was_written_comes_back() -> None:
    assert Snapshot.decode(SEALED, SEAL) == FULL
    back = Snapshot.decode(OPEN, None)
    assert (back.revision, back.provider, back.taken, back.age) == (FULL.revision, FULL.provider, FULL.taken, FULL.age)
    assert back.provider is not None
    assert back.provider.to_dict() == rich().to_dict()


def test_nobody_active_comes_back_too() -> None:
    nobody = Snapshot(Revision(STORE, 8), None, None, taken=5.0, age=0.0)
    for seal in (None, SEAL):
        assert Snapshot.decode(nobody.encode(seal), seal) == nobody


def test_without_a_passphrase_there_is_no_key_in_it() -> None:
    assert API_KEY.encode() not in OPEN
    assert Snapshot.decode(OPEN, None).credential is None
    assert Snapshot.decode(SEALED, None).credential is None


def test_with_one_the_key_is_there_for_another_process_that_has_it_and_in_no_other_form() -> None:
    clear = API_KEY.encode()
    assert clear not in SEALED
    assert clear not in base64.b64decode(SEALED.split(b"\n")[2])
    assert FULL.encode(SEAL) != SEALED  # another nonce each time
    assert Snapshot.decode(SEALED, Seal(Secret(PASSPHRASE.reveal()))).credential == Credential(API_KEY)
    assert API_KEY not in repr(FULL)


def test_only_what_was_sealed_with_the_same_passphrase_is_taken() -> None:
    with pytest.raises(ValueError, match="another snapshot_key, or changed"):
        Snapshot.decode(SEALED, Seal(Secret("another-passphrase")))
    with pytest.raises(ValueError, match="without a snapshot_key"):
        Snapshot.decode(OPEN, SEAL)


def test_a_key_is_bound_to_the_provider_that_it_was_sealed_beside() -> None:
    _, state, sealed, _ = SEALED.split(b"\n")
    elsewhere = state.replace(b"https://api.groq.example", b"https://evil.groq.example")
    assert elsewhere != state
    with pytest.raises(ValueError, match="another snapshot_key, or changed"):
        Snapshot.decode(checked(elsewhere, sealed), SEAL)


@pytest.mark.parametrize("sealed", [b"A", b"AAAA", b"!!", base64.b64encode(bytes(28)), base64.b64encode(bytes(44))])
def test_what_only_looks_sealed_is_refused(sealed: bytes) -> None:
    state = SEALED.split(b"\n")[1]
    with pytest.raises(ValueError, match="another snapshot_key, or changed"):
        Snapshot.decode(checked(state, sealed), SEAL)


@pytest.mark.parametrize("content", [OPEN, SEALED], ids=["open", "sealed"])
def test_a_bit_flipped_at_any_position_is_noticed(content: bytes) -> None:
    for position in range(len(content)):
        for bit in range(8):
            damaged = bytearray(content)
            damaged[position] ^= 1 << bit
            with pytest.raises(ValueError, match=r"^(is damaged|has format)"):
                Snapshot.decode(bytes(damaged), None)


@pytest.mark.parametrize("content", [OPEN, SEALED], ids=["open", "sealed"])
def test_one_cut_short_at_any_position_is_noticed(content: bytes) -> None:
    for length in range(len(content)):
        with pytest.raises(ValueError, match=r"^is (damaged|empty)"):
            Snapshot.decode(content[:length], None)


@given(st.data())
def test_whatever_else_happens_to_it_is_noticed(data: st.DataObject) -> None:
    content = data.draw(st.sampled_from([OPEN, SEALED]))
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(content))] * 2)))
    damaged = content[:start] + data.draw(st.binary(max_size=64)) + content[end:]
    if damaged != content:
        with pytest.raises(ValueError, match=r"^(is|has) "):
            Snapshot.decode(damaged, None)


@given(st.binary())
def test_garbage_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"^is (damaged|empty)"):
        Snapshot.decode(content, None)


@pytest.mark.parametrize("number", [0, 2, 999_999_999])
def test_another_format_is_named(number: int) -> None:
    with pytest.raises(ValueError, match=f"has format {number}, and this version reads 1"):
        Snapshot.decode(checked(b"{}", number=number), None)


@pytest.mark.parametrize(
    "changes",
    [
        {"store_id": ""},
        {"revision": -1},
        {"revision": None},
        {"revision": "canary"},
        {"taken": None},
        {"taken": math.nan},
        {"age": -1},
        {"age": math.inf},
        {"provider": []},
        {"provider": "canary"},
        {"provider": {"provider_name": "canary"}},
        {"provider": {**rich().to_dict(), "canary": 1}},
        {"provider": {**rich().to_dict(), "base_url": " "}},
        {"provider": {**rich().to_dict(), "create_time": "canary"}},
    ],
)
def test_a_state_that_makes_no_sense_is_refused_without_being_shown(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="holds no state that this version understands") as caught:
        Snapshot.decode(with_state(**changes), None)
    assert "canary" not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("state", [b"", b"[]", b"null", b"\xff", b"[" * 100_000])
def test_what_is_no_state_at_all_is_refused(state: bytes) -> None:
    with pytest.raises(ValueError, match="holds no state that this version understands"):
        Snapshot.decode(checked(state), None)


def test_the_age_goes_on_across_processes_and_is_never_guessed() -> None:
    assert FULL.age_at(FULL.taken) == 2.25
    assert FULL.age_at(FULL.taken + 60) == 62.25
    assert FULL.age_at(FULL.taken - 0.001) == math.inf


class TestCache:
    """A cache between the file and the daemon."""

    def test_what_it_keeps_is_what_another_starts_from(self) -> None:
        before = Cache(ClientOptions(include_credential=True), lambda: 100.0)
        before.apply(active(7, provider("groq", has_key=True), key=API_KEY, age=3))
        kept = before.snapshot()
        assert kept is not None
        assert kept.age == 3
        after = Cache(ClientOptions(include_credential=True), lambda: 5.0)
        change = after.restore(kept, 63.0)
        assert (change.provider, change.previous, change.revision) == (before.provider, None, before.revision)
        assert (after.current().provider, after.revision) == (before.provider, before.revision)
        assert after.credential().api_key == API_KEY
        assert after.age == 63
        assert after.served is after.provider

    def test_nothing_known_or_forgotten_is_nothing_to_keep(self) -> None:
        cache = Cache(ClientOptions())
        assert cache.snapshot() is None
        cache.apply(active(7))
        assert cache.snapshot() is not None
        cache.close(RuntimeError("over"))  # type: ignore[arg-type]
        assert cache.snapshot() is None

    def test_a_key_that_was_not_asked_for_stays_out(self) -> None:
        cache = Cache(ClientOptions())
        cache.restore(FULL, 1.0)
        assert cache.current().credential is None


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"snapshot_file": ""}, "snapshot_file is empty"),
        ({"snapshot_key": "x" * 16}, "snapshot_key is for a snapshot_file"),
        ({"snapshot_file": "x", "snapshot_key": "canary-15-chars"}, "snapshot_key is shorter than 16 characters"),
        ({"snapshot_file": "x", "snapshot_key": b""}, "snapshot_key is shorter than 16 characters"),
        ({"snapshot_file": "x", "snapshot_key": "\ud800" * 16}, "snapshot_key is no text"),
        ({"snapshot_max_age": 0}, "snapshot_max_age must be a positive number"),
        ({"snapshot_max_age": math.nan}, "snapshot_max_age must be a positive number"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        ClientOptions(**options)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("key", ["canary-passphrase-ü", "canary-passphrase-ü".encode(), Secret("canary-passphrase-ü")])
def test_a_passphrase_is_the_same_in_every_form_and_shown_in_none(key: Any) -> None:
    options = ClientOptions(snapshot_file="x", snapshot_key=key)
    assert options.snapshot_key == Secret("canary-passphrase-ü")
    assert "canary" not in repr(options)


def test_any_bytes_can_be_a_passphrase() -> None:
    options = ClientOptions(snapshot_file="x", snapshot_key=bytes(range(200, 232)))
    assert options.secret_snapshot_key is not None
    seal = Seal(options.secret_snapshot_key)
    assert Snapshot.decode(FULL.encode(seal), Seal(options.secret_snapshot_key)) == FULL


WITHOUT_CRYPTOGRAPHY = """
import sys
sys.modules["cryptography"] = None  # what import makes of a package that is not there
import providerd
providerd.Client(snapshot_file="x")
try:
    providerd.Client(snapshot_file="x", snapshot_key="0123456789abcdef")
except ValueError as error:
    print(error)
"""


def test_only_who_gives_a_key_needs_the_library_and_is_told_how_to_get_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_CRYPTOGRAPHY], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert done.stdout == "snapshot_key needs the library cryptography: pip install 'providerd[snapshot]'\n"


def test_the_sdk_alone_imports_no_cryptography() -> None:
    code = "import sys, providerd.sync; providerd.Client(snapshot_file='x'); print('cryptography' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
    assert Client(snapshot_file="x").options.snapshot_max_age == 604800
