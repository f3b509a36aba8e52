"""The data directory: where it is, who holds it, and where its socket lives."""

import fcntl
import hashlib
import os
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import platformdirs

from providerd_server.embedded.account import Account, choose_account
from providerd_server.embedded.errors import EmbeddedError

# sun_path holds 108 bytes with the closing NUL, see unix(7).
SOCKET_PATH_BYTES = 107
SOCKET_NAME = ".s.PGSQL.5432"

# How often a lock is tried, and seconds between: far longer than a look at it takes.
_LOOKS, _LOOK = 10, 0.05


def default_data_dir() -> Path:
    """Return the user's data directory for providerd, or /var/lib/providerd when PostgreSQL cannot enter it.

    The latter is for root, whose home is closed to the unprivileged account that has to run PostgreSQL.

    Raises:
        EmbeddedError: there is no account that could run PostgreSQL.
    """
    directory = Path(platformdirs.user_data_dir("providerd")).resolve()
    if choose_account(directory / "cluster").closed_directory(directory):
        return Path("/var/lib/providerd")
    return directory


def holds_cluster(path: Path) -> bool:
    """Return whether a PostgreSQL was made in this data directory."""
    return (path / "cluster").is_dir()


def create_data_directory(path: Path, account: Account) -> None:
    """Create the data directory, closed to everyone, but open to pass through for an account other than ours.

    Raises:
        EmbeddedError: the account cannot enter an existing directory on the way.
    """
    if closed := account.closed_directory(path):
        raise EmbeddedError(
            f"the account {account.name}, which runs PostgreSQL, cannot enter {closed}: chmod o+x it, or set "
            "PROVIDERD_DATA_DIR to a directory that is open to it"
        )
    mode = 0o700 if account.uid == os.geteuid() else 0o711
    for directory in reversed((path, *path.parents)):
        if not directory.exists():
            directory.mkdir(exist_ok=True)
            directory.chmod(mode)  # the umask must not close what the account has to pass through


def lock_data_directory(path: Path) -> int:
    """Take the data directory for this process and return the descriptor that holds it until it is closed.

    Raises:
        EmbeddedError: another process has it.
    """
    # Not inheritable (PEP 446): postgres must not keep the lock when this process is gone.
    lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    if not _taken(lock):
        holder = os.pread(lock, 20, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(lock)
        raise EmbeddedError(
            f"data directory {path} is in use by process {holder}: "
            "stop that one, or set PROVIDERD_DATA_DIR to another directory"
        )
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock


def is_locked(path: Path) -> bool:
    """Return whether a process has the data directory; nothing is made or written, and nobody is refused meanwhile.

    Raises:
        EmbeddedError: this account must not look.
    """
    try:
        lock = os.open(path / "lock", os.O_RDONLY)
    except FileNotFoundError:
        return False
    except PermissionError:
        raise EmbeddedError(f"cannot read {path / 'lock'}: run this as the account that runs the daemon") from None
    try:
        # Shared: others may look as well, and whoever wants the directory waits for that, see _taken.
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def socket_directory(data_dir: Path, account: Account) -> Path:
    """Return a directory for the socket that only the account can enter; create it when it is not there.

    It is ``run`` in the data directory, or, where that path is too long for a socket, a directory named after
    the data directory in XDG_RUNTIME_DIR or the directory for temporary files.

    Raises:
        EmbeddedError: somebody else has made that directory, or its path is too long as well.
    """
    directory = data_dir / "run"
    if not _fits_socket(directory):
        name = f"providerd-{hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]}"
        directory = _runtime_directory(account) / name
    if not _fits_socket(directory):
        raise EmbeddedError(f"the path {directory} cannot hold a socket: set PROVIDERD_DATA_DIR to a short path")
    with suppress(FileExistsError):
        directory.mkdir(mode=0o700)
    status = directory.lstat()
    ours = status.st_uid in (os.geteuid(), account.uid)
    if not stat.S_ISDIR(status.st_mode) or not ours or status.st_mode & 0o077:
        raise EmbeddedError(f"{directory} is not a private directory of the account {account.name}: remove it")
    os.chown(directory, account.uid, account.gid)
    return directory


def _taken(lock: int) -> bool:
    """Return whether the lock is ours now; who only looks at it has it, too, but for a moment."""
    for _ in range(_LOOKS):
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(_LOOK)
    return False


def _fits_socket(directory: Path) -> bool:
    # A comma separates directories in unix_socket_directories and hosts in a connection string.
    path = os.fsencode(directory / SOCKET_NAME)
    return len(path) <= SOCKET_PATH_BYTES and b"," not in path


def _runtime_directory(account: Account) -> Path:
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and account.uid == os.geteuid() and Path(runtime).is_dir():
        return Path(runtime)
    return Path(tempfile.gettempdir())
