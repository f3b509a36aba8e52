"""A copy of the file beside it, which nobody else may read."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from providerd.cli.failures import ExitCode, Failure


def backup(path: Path, content: bytes) -> Path:
    """Writes ``content`` to ``NAME.backup_TIME.SUFFIX`` beside ``path``; never over a file that is there.

    The time is UTC, to the microsecond. The copy is on the disk when this returns.

    Raises:
        Failure: It cannot be written; then nothing of it is left.
    """
    time = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    copy = path.with_name(f"{path.stem}.backup_{time}{path.suffix}")
    try:
        # Private from its first moment on, and new: O_EXCL follows no link either (open(2)).
        descriptor = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise _cannot_write(copy, error) from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        copy.unlink(missing_ok=True)
        raise _cannot_write(copy, error) from None
    return copy


def _cannot_write(copy: Path, error: OSError) -> Failure:
    return Failure(
        f"the backup cannot be written to {copy.parent}: {error.strerror}; nothing was imported:"
        " make the directory writable, or run this on a copy of the file elsewhere",
        ExitCode.REFUSED,
    )
