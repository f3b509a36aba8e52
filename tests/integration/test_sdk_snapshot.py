"""Clients that start from a last-known-good file and keep one, against a real gRPC server that comes and goes."""

import asyncio
import logging
import math
import os
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

import providerd
import providerd.sync
from providerd import Cause, Change, Client, State, keeper
from providerd.snapshot import Snapshot
from providerd.snapshot_file import SnapshotFile
from tests.disks import Disk
from tests.integration.scripted_server import ScriptedServer, Watch, scripted_server
from tests.unit.sdk_messages import OTHER_STORE, STORE, active, heartbeat, provider

KEY = "canary-key-6b20"
PASSPHRASE = "canary-passphrase-e5"


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with scripted_server() as server:
        yield server


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets writes follow each other at once."""
    monkeypatch.setattr(keeper, "_PAUSE", 0.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "last-known-good"


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What was said of the file."""
    return lambda: [each.getMessage() for each in caplog.records if "last-known-good" in each.getMessage()]


def with_key(name: str = "groq") -> Any:
    return provider(name, has_key=True, key_fingerprint="f00d")


def content(path: Path) -> bytes:
    return path.read_bytes()


def number_in(path: Path) -> int | None:
    """The number of the revision in the file, whatever its passphrase."""
    return Snapshot.decode(content(path), None).revision.number if path.exists() else None


async def in_file(path: Path, number: int) -> None:
    """Waits for a revision to be in the file."""
    async with asyncio.timeout(20):
        while number_in(path) != number:
            await asyncio.sleep(0.005)


async def answered(server: ScriptedServer, message: Any) -> Watch:
    watch = await server.watch()
    watch.send(message)
    return watch


async def kept(server: ScriptedServer, path: Path, message: Any, **options: Any) -> None:
    """Has a client of its own write what the daemon says into the file, and ends both."""
    async with asyncio.TaskGroup() as group:
        group.create_task(answered(server, message))
        async with Client(server.address, snapshot_file=path, **options) as client:
            assert client.state is State.READY
    await server.stop()


def edit(path: Path, **changes: Any) -> None:
    """Rewrites the file as of another moment."""
    found = Snapshot.decode(path.read_bytes(), None)
    values = {name: getattr(found, name) for name in Snapshot.__slots__} | changes
    path.unlink()
    SnapshotFile(path, None).write(Snapshot(**values))


def inode(path: Path) -> int:
    """Another one after each write."""
    return path.stat().st_ino


def beside(path: Path) -> list[Path]:
    return list(path.parent.iterdir())


def put_elsewhere(path: Path) -> None:
    """Leaves a symbolic link where the file was."""
    path.symlink_to(path.rename(path.with_suffix(".real")))


async def test_it_starts_from_the_file_while_the_daemon_is_away(server: ScriptedServer, path: Path) -> None:
    await kept(server, path, active(7, "groq", "INITIAL", age=90))
    seen: list[Change] = []
    states: list[State] = []
    client = Client(server.address, snapshot_file=str(path), timeout=3600)  # it does not wait for who is not there
    client.on_change(seen.append)
    client.on_state(states.append)
    async with client:
        assert client.active.provider_name == "groq"
        assert (client.state, client.revision) == (State.STALE, providerd.Revision(STORE, 7))
        assert 90 <= client.age < 200
        assert isinstance(client.error, providerd.UnavailableError)
        initial = await anext(client.changes())
        assert (initial.cause, initial.provider, initial.previous) == (Cause.INITIAL, client.active, None)
        assert seen == [initial]
        assert states == [State.STALE]


async def test_it_catches_up_when_the_daemon_comes_back(server: ScriptedServer, path: Path) -> None:
    await kept(server, path, active(7, "groq", "INITIAL"))
    async with Client(server.address, snapshot_file=path, heartbeat_interval=1) as client:
        changes = client.changes()
        assert (await anext(changes)).cause is Cause.INITIAL
        await server.start()
        watch = await server.watch()
        assert (watch.known, watch.request.known_revision.store_id) == (7, STORE)
        watch.send(active(9, "openrouter", "INITIAL"))
        switched = await anext(changes)
        assert (switched.cause, switched.previous and switched.previous.provider_name) == (Cause.SWITCHED, "groq")
        assert (client.active.provider_name, client.state) == ("openrouter", State.READY)
        assert client.age < 60
        await in_file(path, 9)


async def test_a_heartbeat_is_enough_when_nothing_has_changed(server: ScriptedServer, path: Path) -> None:
    await kept(server, path, active(7, "groq", "INITIAL", age=90))
    await server.start()
    async with asyncio.TaskGroup() as group:
        group.create_task(answered(server, heartbeat(8)))
        async with Client(server.address, snapshot_file=path) as client:
            assert (client.state, client.active.provider_name) == (State.READY, "groq")
            assert client.revision == providerd.Revision(STORE, 8)
            assert client.age < 60
            await in_file(path, 8)  # because what was there had been verified long before


async def test_entering_waits_for_a_daemon_that_is_there(server: ScriptedServer, path: Path) -> None:
    """Or else a value of yesterday would be served beside a daemon that knows better."""
    await kept(server, path, active(7, "groq", "INITIAL"))
    await server.start()
    client = Client(server.address, snapshot_file=path, timeout=20)
    entering = asyncio.create_task(client.__aenter__())
    watch = await server.watch()
    assert client.active.provider_name == "groq"  # who does not wait has it already
    assert not entering.done()
    watch.send(active(9, "openrouter", "INITIAL"))
    await entering
    assert client.active.provider_name == "openrouter"
    await client.close()


async def test_but_not_for_one_that_says_nothing(server: ScriptedServer, path: Path) -> None:
    await kept(server, path, active(7, "groq", "INITIAL"))
    await server.start()
    async with Client(server.address, snapshot_file=path, timeout=0.2) as client:
        await client.wait_ready(0.1)
        assert (client.state, client.active.provider_name) == (State.STALE, "groq")


async def test_another_store_is_a_resync_and_a_lower_revision_is_not_taken(server: ScriptedServer, path: Path) -> None:
    await kept(server, path, active(7, "groq", "INITIAL"))
    await server.start()
    client = Client(server.address, snapshot_file=path)
    await client.start()
    watch = await server.watch()
    changes = client.changes()
    assert (await anext(changes)).revision.number == 7
    watch.send(active(5, "stale", "INITIAL"), active(3, "openrouter", "INITIAL", store=OTHER_STORE))
    change = await anext(changes)
    assert (change.cause, change.revision.store_id) == (Cause.RESYNC, OTHER_STORE)
    assert client.active.provider_name == "openrouter"
    await client.close()
    assert Snapshot.decode(content(path), None).revision.store_id == OTHER_STORE


async def test_nobody_active_is_known_from_the_file_too(server: ScriptedServer, path: Path) -> None:
    await kept(server, path, active(7, None, "INITIAL"))
    async with Client(server.address, snapshot_file=path) as client:
        with pytest.raises(providerd.NoActiveProviderError):
            _ = client.active
        assert client.state is State.STALE


async def test_max_age_holds_for_what_the_file_has(server: ScriptedServer, path: Path) -> None:
    await kept(server, path, active(7, "groq", "INITIAL"))
    async with Client(server.address, snapshot_file=path, max_age=600) as client:
        assert client.active.provider_name == "groq"
    edit(path, taken=time.time() - 601)
    async with Client(server.address, snapshot_file=path, max_age=600) as client:
        with pytest.raises(providerd.StaleError, match=r"the value is 60\d\.\d s old"):
            _ = client.active


async def test_a_clock_that_went_back_hides_the_age_and_makes_nothing_fresh(server: ScriptedServer, path: Path) -> None:
    await kept(server, path, active(7, "groq", "INITIAL"))
    edit(path, taken=time.time() + 3600)
    async with Client(server.address, snapshot_file=path) as client:
        assert (client.active.provider_name, client.state, client.age) == ("groq", State.STALE, math.inf)
    async with Client(server.address, snapshot_file=path, max_age=600) as client:
        with pytest.raises(providerd.StaleError):
            _ = client.active


async def test_threads_have_it_too(server: ScriptedServer, path: Path) -> None:
    await kept(
        server, path, active(7, with_key(), "INITIAL", key=KEY), snapshot_key=PASSPHRASE, include_credential=True
    )

    def use() -> None:
        with providerd.sync.Client(
            server.address, snapshot_file=path, snapshot_key=PASSPHRASE, include_credential=True
        ) as client:
            assert (client.active.provider_name, client.state) == ("groq", State.STALE)
            assert client.credential.api_key == KEY
            assert next(client.changes()).cause is Cause.INITIAL

    await asyncio.to_thread(use)


class TestCredentials:
    async def test_a_key_is_there_with_a_passphrase(self, server: ScriptedServer, path: Path) -> None:
        options = {"include_credential": True, "snapshot_key": PASSPHRASE}
        await kept(server, path, active(7, with_key(), "INITIAL", key=KEY), **options)
        assert KEY.encode() not in content(path)
        async with Client(server.address, snapshot_file=path, **options) as client:  # type: ignore[arg-type]
            assert client.credential.api_key == KEY
            await server.start()
            assert (await server.watch()).known == 7

    async def test_without_one_it_comes_with_the_first_answer(self, server: ScriptedServer, path: Path) -> None:
        await kept(server, path, active(7, with_key(), "INITIAL", key=KEY), include_credential=True)
        assert KEY.encode() not in content(path)
        async with Client(server.address, snapshot_file=path, include_credential=True) as client:
            assert client.active.provider_name == "groq"
            with pytest.raises(providerd.CredentialUnavailableError, match="file holds no key of provider 'groq'"):
                _ = client.credential
            await server.start()
            watch = await server.watch()
            assert watch.known is None  # a heartbeat would not bring it
            seen = client.changes()
            await anext(seen)
            watch.send(active(7, with_key(), "INITIAL", key=KEY))
            await anext(seen)
            assert (client.credential.api_key, client.state) == (KEY, State.READY)

    async def test_a_store_that_was_restored_meanwhile_brings_it_as_well(
        self, server: ScriptedServer, path: Path
    ) -> None:
        """Asked for everything, a daemon with less cannot know that it is to say whether its store was restored."""
        await kept(server, path, active(7, with_key(), "INITIAL", key=KEY), include_credential=True)
        await server.start()
        client = Client(server.address, snapshot_file=path, include_credential=True)
        await client.start()
        first = await server.watch()
        assert first.known is None
        first.send(active(3, with_key("openrouter"), "INITIAL", key=KEY))
        second = await server.watch()
        assert second.known == 7
        assert client.active.provider_name == "groq"
        second.send(active(3, with_key("openrouter"), "RESYNC", key=KEY))
        await client._announcer.until(lambda: client.state is State.READY)
        assert (client.active.provider_name, client.credential.api_key) == ("openrouter", KEY)
        await client.close()

    async def test_and_so_does_a_daemon_that_lagged(self, server: ScriptedServer, path: Path) -> None:
        await kept(server, path, active(7, with_key(), "INITIAL", key=KEY), include_credential=True)
        await server.start()
        client = Client(server.address, snapshot_file=path, include_credential=True)
        await client.start()
        (await server.watch()).send(active(6, with_key("openrouter"), "INITIAL", key=KEY))
        second = await server.watch()
        assert second.known == 7
        second.send(heartbeat(7))
        third = await server.watch()
        assert third.known is None
        third.send(active(7, with_key(), "INITIAL", key=KEY))
        await client._announcer.until(lambda: client.state is State.READY)
        assert (client.active.provider_name, client.credential.api_key) == ("groq", KEY)
        await client.close()


class TestRefused:
    """Each is said once, with its reason; the client goes on as if there were no file, and then writes a good one."""

    @pytest.mark.parametrize(
        ("spoil", "says"),
        [
            (lambda path: path.write_bytes(b""), "is empty"),
            (lambda path: path.write_bytes(b"canary" * 50), "is damaged, or no last-known-good file"),
            (lambda path: os.truncate(path, path.stat().st_size - 1), "is damaged, or no last-known-good file"),
            (
                lambda path: path.write_bytes(content(path).replace(b"groq", b"canary", 1)),
                "checksum does not match",
            ),
            (lambda path: path.write_bytes(content(path).replace(b" 1 ", b" 2 ", 1)), "has format 2"),
            (lambda path: path.chmod(0o644), "is open to other users (mode 0644): chmod 600 it"),
            (put_elsewhere, "is a symbolic link: name the file itself"),
            (lambda path: edit(path, taken=time.time() - 8 * 86400), "s old and snapshot_max_age is 604800 s"),
        ],
        ids=["empty", "garbage", "truncated", "flipped", "format", "open", "link", "outdated"],
    )
    async def test_it_goes_on_without(
        self,
        server: ScriptedServer,
        path: Path,
        warnings: Callable[[], list[str]],
        spoil: Callable[[Path], Any],
        says: str,
    ) -> None:
        await kept(server, path, active(7, "groq", "INITIAL"))
        spoil(path)
        client = Client(server.address, snapshot_file=path, timeout=20)
        async with asyncio.timeout(20):
            await client.start()
            await client._announcer.until(lambda: client.error is not None)
            assert (client.state, client.revision) == (State.CONNECTING, None)
            with pytest.raises(providerd.NotReadyError):
                _ = client.active
            (said,) = warnings()
            assert said.startswith(f"starting without the last-known-good file: {path} ")
            assert says in said
            assert "canary" not in said
            await server.start()
            watch = await server.watch()
            assert watch.known is None
            watch.send(active(8, "openrouter", "INITIAL"))
            await client.wait_ready()
        await client.close()
        assert number_in(path) == 8
        assert len(warnings()) == 1

    async def test_a_file_of_any_age_is_taken_by_who_says_so(self, server: ScriptedServer, path: Path) -> None:
        await kept(server, path, active(7, "groq", "INITIAL"))
        edit(path, taken=time.time() - 8 * 86400)
        async with Client(server.address, snapshot_file=path, snapshot_max_age=None) as client:
            assert client.active.provider_name == "groq"
            assert client.age >= 8 * 86400

    async def test_another_passphrase(
        self, server: ScriptedServer, path: Path, warnings: Callable[[], list[str]]
    ) -> None:
        message = active(7, with_key(), "INITIAL", key=KEY)
        await kept(server, path, message, include_credential=True, snapshot_key=PASSPHRASE)
        client = Client(server.address, snapshot_file=path, snapshot_key="another-passphrase")
        await client.start()
        await client._announcer.until(lambda: client.error is not None)
        assert client.state is State.CONNECTING
        await client.close()
        assert [each.split(str(path))[1] for each in warnings()] == [
            " was written with another snapshot_key, or changed since"
        ]


class TestDisks:
    """A disk that does not take the file is a warning, once, until it takes it again."""

    @pytest.mark.parametrize(
        ("spoil", "mend", "reason"),
        [(Disk.fill, Disk.free, "No space left on device"), (Disk.freeze, Disk.thaw, "Read-only file system")],
        ids=["full", "read-only"],
    )
    async def test_the_client_is_not_disturbed(
        self,
        server: ScriptedServer,
        disk: Disk,
        warnings: Callable[[], list[str]],
        spoil: Callable[[Disk], None],
        mend: Callable[[Disk], None],
        reason: str,
    ) -> None:
        path = disk.path / "file"
        long = "x" * 20_000
        client = Client(server.address, snapshot_file=path)
        changes = client.changes()
        await client.start()
        watch = await answered(server, active(7, "groq", "INITIAL"))
        await in_file(path, 7)
        spoil(disk)
        for number in (8, 9, 10):
            watch.send(active(number, provider("groq", description=f"{number}{long}")))
            async with asyncio.timeout(20):
                while (await anext(changes)).revision.number != number:
                    pass
                while not warnings():
                    await asyncio.sleep(0.005)
        assert client.state is State.READY
        assert warnings() == [f"the last-known-good file stays as it is: {path} cannot be used: {reason}"]
        assert number_in(path) == 7
        mend(disk)
        watch.send(active(11, provider("groq", description=f"11{long}")))
        await in_file(path, 11)
        await client.close()
        assert len(warnings()) == 1

    async def test_a_directory_that_is_missing(
        self, server: ScriptedServer, tmp_path: Path, warnings: Callable[[], list[str]]
    ) -> None:
        path = tmp_path / "no" / "such" / "file"
        async with Client(server.address, snapshot_file=path, timeout=0.1) as client:
            await answered(server, active(7, "groq", "INITIAL"))
            await client.wait_ready(20)
        assert warnings() == [
            f"the last-known-good file stays as it is: {path} cannot be used: No such file or directory"
        ]

    async def test_one_that_hangs_delays_neither_the_watch_nor_the_end(
        self,
        server: ScriptedServer,
        path: Path,
        warnings: Callable[[], list[str]],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(keeper, "_PATIENCE", 0.2)
        await kept(server, path, active(7, "groq", "INITIAL"))
        await server.start()
        # The threads that wait for the disk have all begun to, and it does not answer.
        answers = threading.Event()
        executor = ThreadPoolExecutor(1)
        asyncio.get_running_loop().set_default_executor(executor)
        executor.submit(answers.wait)
        try:
            client = Client(server.address, snapshot_file=path)
            await client.start()
            watch = await server.watch()
            assert watch.known is None
            assert [each.split(str(path))[1] for each in warnings()] == [" could not be read within 0.2 s"]
            for number in (8, 9, 10):
                watch.send(active(number, "groq", "INITIAL"))
            await client._announcer.until(lambda: client.revision == providerd.Revision(STORE, 10))
            assert client.state is State.READY
            async with asyncio.timeout(20):
                await client.close()
            assert number_in(path) == 7
        finally:
            answers.set()
            executor.shutdown()


class TestWriting:
    async def test_many_changes_are_few_writes_and_the_newest_is_never_lost(
        self, server: ScriptedServer, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(keeper, "_PAUSE", 3600.0)
        inodes: set[int] = set()
        client = Client(server.address, snapshot_file=path)
        await client.start()
        watch = await answered(server, active(1, "groq", "INITIAL"))
        await in_file(path, 1)
        inodes.add(inode(path))
        watch.send(*(active(number, provider("groq", config_version=number)) for number in range(2, 500)))
        await client._announcer.until(lambda: client.revision == providerd.Revision(STORE, 499))
        inodes.add(inode(path))
        await client.close()
        assert number_in(path) == 499
        assert len(inodes) == 1  # nothing between the first and the one at the end

    async def test_heartbeats_alone_write_nothing_until_the_age_in_the_file_is_worth_it(
        self, server: ScriptedServer, path: Path
    ) -> None:
        client = Client(server.address, snapshot_file=path)
        await client.start()
        watch = await answered(server, active(7, "groq", "INITIAL", age=300))
        await in_file(path, 7)
        before = inode(path)
        # Verified some seconds after what is in the file: far less than the minute that is worth a write.
        watch.send(heartbeat(8, age=295))
        await client._announcer.until(lambda: client.revision == providerd.Revision(STORE, 8))
        assert not client._keeper._due()
        assert inode(path) == before
        watch.send(heartbeat(9, age=0))
        await in_file(path, 9)
        assert Snapshot.decode(content(path), None).age < 20
        await client.close()

    async def test_a_refusal_for_good_leaves_the_file_as_it_was(self, server: ScriptedServer, path: Path) -> None:
        await kept(server, path, active(7, "groq", "INITIAL"))
        await server.start()
        before = content(path)
        client = Client(server.address, snapshot_file=path)
        await client.start()
        (await server.watch()).end(grpc.StatusCode.PERMISSION_DENIED, "worker lacks the scope 'read'")
        await client._announcer.until(lambda: client.state is State.FATAL)
        assert client.active.provider_name == "groq"
        await client.close()
        assert content(path) == before

    async def test_two_clients_share_a_file_and_the_last_one_wins(self, server: ScriptedServer, path: Path) -> None:
        clients = [Client(server.address, snapshot_file=path) for _ in range(2)]
        for client in clients:
            await client.start()
        watches = [await server.watch() for _ in clients]
        for number in range(1, 60):
            for watch in watches:
                watch.send(active(number, provider("groq", config_version=number)))
        for client in clients:
            seen = client.changes()
            while (await anext(seen)).revision.number != 59:
                pass
            await client.close()
        assert number_in(path) == 59
        assert beside(path) == [path]


async def test_no_secret_is_shown_by_what_keeps_the_file(
    server: ScriptedServer, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(1)
    options = {"include_credential": True, "snapshot_key": PASSPHRASE}
    await kept(server, path, active(7, with_key(), "INITIAL", key=KEY), **options)
    async with Client(server.address, snapshot_file=path, **options) as client:  # type: ignore[arg-type]
        assert client.credential.api_key == KEY
        file = client._keeper._file
        assert file is not None
        assert file._seal is not None
        things = [client.options, client._keeper, file, file._seal, client._cache, client._cache.snapshot()]
        shown = "\n".join(f"{each!r} {each} {getattr(each, '__dict__', '')}" for each in things)
    logged = "\n".join(logging.Formatter().format(each) for each in caplog.records)
    assert "canary" not in shown + logged
    assert PASSPHRASE not in content(path).decode()
