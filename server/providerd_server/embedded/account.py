"""The operating system account that runs PostgreSQL, which refuses to run as root."""

import os
import pwd
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from providerd_server.embedded.errors import EmbeddedError

UNPRIVILEGED = ("providerd", "postgres", "nobody")


class Credentials(TypedDict):
    """The arguments of ``subprocess`` that say who runs a command; None keeps what the caller has."""

    user: int | None
    group: int | None
    extra_groups: list[int] | None


@dataclass(frozen=True)
class Account:
    """An account of the operating system."""

    name: str
    uid: int
    gid: int

    @property
    def credentials(self) -> Credentials:
        """What makes a subprocess run as this account and with no other group."""
        if self.uid == os.geteuid():
            return Credentials(user=None, group=None, extra_groups=None)
        return Credentials(user=self.uid, group=self.gid, extra_groups=[])

    def closed_directory(self, path: Path) -> Path | None:
        """Return the first directory on the way to ``path``, itself included, that this account cannot enter.

        Directories that do not exist yet are left out, and so are access control lists beyond the mode bits.
        For the account of this process the answer is None: the kernel itself tells when it tries.
        """
        if self.uid == os.geteuid():
            return None
        for directory in (*reversed(path.parents), path):
            if directory.is_dir() and not self._may_enter(directory.stat()):
                return directory
        return None

    def _may_enter(self, status: os.stat_result) -> bool:
        if status.st_uid == self.uid:
            return bool(status.st_mode & stat.S_IXUSR)
        if status.st_gid == self.gid:
            return bool(status.st_mode & stat.S_IXGRP)
        return bool(status.st_mode & stat.S_IXOTH)


def current_account() -> Account:
    """Return the account this process runs as.

    Raises:
        EmbeddedError: it has no name, and PostgreSQL identifies local users by name.
    """
    return _account(os.geteuid())


def choose_account(cluster: Path, wanted: str | None = None) -> Account:
    """Return the account to run PostgreSQL as.

    A normal user runs it as themselves. Root runs it as the owner of an existing cluster, else as ``wanted``,
    else as the first account that exists of ``UNPRIVILEGED``.

    Raises:
        EmbeddedError: there is no such account, or it cannot run this cluster.
    """
    owner = cluster.stat().st_uid if cluster.exists() else None
    if os.geteuid() != 0:
        me = current_account()
        if owner not in (None, me.uid):
            raise EmbeddedError(
                f"{cluster} belongs to user {owner}, not to {me.name}: run providerd as its owner, or set "
                "PROVIDERD_DATA_DIR to another directory"
            )
        return me
    account = _first_of((wanted,) if wanted else UNPRIVILEGED) if owner is None else _account(owner)
    if account.uid == 0:
        raise EmbeddedError(
            f"PostgreSQL refuses to run as root: give {cluster} to an unprivileged account"
            if owner is not None
            else "PostgreSQL refuses to run as root: name an unprivileged account"
        )
    return account


def _first_of(names: tuple[str, ...]) -> Account:
    for name in names:
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    raise EmbeddedError(
        f"PostgreSQL refuses to run as root and there is no account {' or '.join(names)}: create one, or run "
        "providerd as a normal user"
    )


def _account(uid: int) -> Account:
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        raise EmbeddedError(
            f"user {uid} has no name, by which PostgreSQL knows local users: add the user to /etc/passwd"
        ) from None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
