"""A PostgreSQL of a test module's own, with settings that would be in the way of others."""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from providerd_server.embedded import EmbeddedPostgres
from providerd_server.embedded.account import choose_account


@contextmanager
def database_server(directory: Path, settings: Mapping[str, str], *, hba: str) -> Iterator[EmbeddedPostgres]:
    """Runs it in ``directory``; ``hba`` are the lines that say who may connect how."""
    file = directory / "hba.conf"
    file.write_text(hba)
    file.chmod(0o644)
    with EmbeddedPostgres(directory / "data", settings={"fsync": "off", "hba_file": str(file), **settings}) as postgres:
        yield postgres


@contextmanager
def server_directory() -> Iterator[Path]:
    """A directory that the account of PostgreSQL can enter."""
    with tempfile.TemporaryDirectory(prefix="providerd-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        yield directory


def give_to_server(directory: Path, *files: Path) -> None:
    """Makes files those of the account that PostgreSQL will run as, which wants its private key to be its own."""
    account = choose_account(directory / "data" / "cluster", None)
    for file in files:
        os.chown(file, account.uid, account.gid)
