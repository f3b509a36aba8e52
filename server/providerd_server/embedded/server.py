"""The embedded PostgreSQL as a whole: prepared, started, kept alive, stopped."""

import os
import random
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

import structlog

from providerd_server.embedded.account import choose_account
from providerd_server.embedded.cluster import DATABASE, Cluster
from providerd_server.embedded.directory import (
    create_data_directory,
    is_locked,
    lock_data_directory,
    socket_directory,
)
from providerd_server.embedded.errors import EmbeddedError
from providerd_server.embedded.installation import install, remove_interrupted
from providerd_server.embedded.leftovers import end_leftovers
from providerd_server.embedded.postmaster import Postmaster

FIRST_BACKOFF = 0.2
LONGEST_BACKOFF = 10.0
JOIN_TIMEOUT = 30.0
NO_SETTINGS: Mapping[str, str] = MappingProxyType({})

log = structlog.get_logger(__name__)


class EmbeddedPostgres:
    """A PostgreSQL of one's own, alive from ``start`` to ``stop``, also through crashes of either process.

    Args:
        data_dir: where everything lives; created when it is not there. One process at a time can have it.
        settings: server settings that win over the defaults, such as ``{"max_connections": "20"}``.
        account: who runs PostgreSQL when this process is root and there is no cluster yet.
    """

    def __init__(
        self, data_dir: Path, *, settings: Mapping[str, str] = NO_SETTINGS, account: str | None = None
    ) -> None:
        self._data_dir = data_dir.resolve()
        self._settings = dict(settings)
        self._account = account
        self._lock: int | None = None
        self._cluster: Cluster | None = None
        self._postmaster: Postmaster | None = None
        self._supervisor: threading.Thread | None = None
        self._guard = threading.Lock()  # a postmaster is not born while we stop
        self._stopping = threading.Event()

    @classmethod
    def attach(cls, data_dir: Path) -> Self | None:
        """Return the one that another process runs on ``data_dir``, to talk to; None when there is none.

        It has no power over that process: ``stop`` does nothing to it.

        Raises:
            EmbeddedError: its directory is not as this version of providerd makes it.
        """
        attached = cls(data_dir)
        if not attached._data_dir.is_dir() or not is_locked(attached._data_dir):
            return None
        account = choose_account(attached._data_dir / "cluster", None)
        installation = install(attached._data_dir)
        sockets = socket_directory(attached._data_dir, account)
        attached._cluster = Cluster(attached._data_dir, account, installation, sockets)
        return attached

    def start(self) -> None:
        """Start PostgreSQL and block until the database ``providerd`` takes connections.

        Raises:
            EmbeddedError: it cannot; the message is one line: the reason and what to do. Nothing keeps running.
        """
        if self._lock is not None:
            raise EmbeddedError(f"the embedded PostgreSQL in {self._data_dir} has been started already")
        self._stopping.clear()
        try:
            self._cluster = self._prepare()
            first: Future[None] = Future()
            self._supervisor = threading.Thread(
                target=self._supervise, args=(self._cluster, first), name="embedded-postgres", daemon=True
            )
            self._supervisor.start()
            first.result()
            self._cluster.create_database()
        except BaseException as error:
            self.stop()
            if isinstance(error, OSError):
                raise EmbeddedError(f"cannot use the data directory {self._data_dir}: {error}") from error
            raise
        log.warning(
            "embedded PostgreSQL is for development and single-machine use",
            data_dir=str(self._data_dir),
            account=self._cluster.account.name,
            pid=self.pid,
        )

    def stop(self) -> None:
        """Stop PostgreSQL in bounded time and give the data directory back; does nothing the second time."""
        self._stopping.set()
        with self._guard:
            postmaster, self._postmaster = self._postmaster, None
        if postmaster is not None:
            postmaster.stop()
        if self._supervisor is not None:
            self._supervisor.join(JOIN_TIMEOUT)
            self._supervisor = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def dsn(self, database: str = DATABASE) -> str:
        """Return the connection URL of a database, for asyncpg and for psql.

        Raises:
            EmbeddedError: it has never been started.
        """
        return self._started().dsn(database)

    @property
    def binaries(self) -> Path:
        """The directory of psql, pg_dump and the other programs.

        Raises:
            EmbeddedError: it has never been started.
        """
        return self._started().installation.binaries

    @property
    def environment(self) -> Mapping[str, str]:
        """The whole environment that the programs in ``binaries`` need.

        Raises:
            EmbeddedError: it has never been started.
        """
        return self._started().installation.environment

    @property
    def pid(self) -> int | None:
        """The process id of the postmaster; another one after a restart, and None while there is none."""
        postmaster = self._postmaster
        return None if postmaster is None else postmaster.pid

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _started(self) -> Cluster:
        if self._cluster is None:
            raise EmbeddedError("the embedded PostgreSQL has not been started: call start() first")
        return self._cluster

    def _prepare(self) -> Cluster:
        account = choose_account(self._data_dir / "cluster", self._account)
        create_data_directory(self._data_dir, account)
        self._lock = lock_data_directory(self._data_dir)
        remove_interrupted(self._data_dir)
        installation = install(self._data_dir)
        sockets = socket_directory(self._data_dir, account)
        cluster = Cluster(self._data_dir, account, installation, sockets)
        cluster.create()
        cluster.write_authentication()
        return cluster

    def _supervise(self, cluster: Cluster, first: Future[None]) -> None:
        """Keep a postmaster running until told to stop; ``first`` hears how the first attempt went.

        It all happens on one thread that lives as long: the death of the thread that forked ends the postmaster.
        """
        try:
            postmaster: Postmaster | None = self._launch(cluster)
        except Exception as error:
            first.set_exception(error)
            return
        first.set_result(None)
        while postmaster is not None:
            status = postmaster.wait()
            if not self._stopping.is_set():
                log.error("embedded PostgreSQL ended unexpectedly; restarting it", status=status)
            postmaster = self._relaunch(cluster)

    def _relaunch(self, cluster: Cluster) -> Postmaster | None:
        """Try until it runs again, or return None when it is no longer wanted."""
        backoff = FIRST_BACKOFF
        while not self._stopping.wait(random.uniform(0, backoff)):  # noqa: S311 - full jitter is no secret
            try:
                postmaster = self._launch(cluster)
            except Exception as error:
                log.warning("embedded PostgreSQL does not start; trying again", reason=str(error))
                backoff = min(2 * backoff, LONGEST_BACKOFF)
            else:
                log.info("embedded PostgreSQL is up again", pid=postmaster.pid)
                return postmaster
        return None

    def _launch(self, cluster: Cluster) -> Postmaster:
        """Start a postmaster in place of whatever was left behind, and wait until it is ready."""
        end_leftovers(cluster)
        with self._guard:
            if self._stopping.is_set():
                raise EmbeddedError("the embedded PostgreSQL was stopped while it started")
            self._postmaster = postmaster = Postmaster(cluster, self._settings)
        try:
            postmaster.wait_until_ready()
        except BaseException:
            postmaster.stop()
            raise
        return postmaster
