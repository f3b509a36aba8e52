"""Runs the importer of admin_settings.json as operators do: as a process, in a directory with the file."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.daemon import clean_environment

SCRIPT = Path(__file__).parents[2] / "scripts" / "migrate_admin_settings_to_db.py"
PASSPHRASE = "a passphrase of the tests"
KEY = "gsk_6xXX-the-key-of-these-tests-CU43"
# The first 16 digits that `printf %s "$KEY" | sha256sum` prints.
FINGERPRINT = "sha256:98ee7b8bf45969f0"

# What a run must never show: the key, and any beginning of it that would be of use.
_SECRETS = (KEY, KEY[:8], PASSPHRASE)


class Importer:
    """Runs the importer in one directory against one database, with config/admin_settings.json in place."""

    def __init__(self, directory: Path, dsn: str) -> None:
        self.config = directory / "config"
        self.file = self.config / "admin_settings.json"
        self.dsn = dsn
        self.config.mkdir()
        self.write({"groq": {"api_key": KEY}})

    def write(self, document: Any) -> None:
        self.file.write_text(document if isinstance(document, str) else json.dumps(document))

    @property
    def backups(self) -> list[Path]:
        return sorted(self.config.glob("admin_settings.backup_*.json"))

    def __call__(self, *arguments: str, before: tuple[str, ...] = (), **env: str) -> subprocess.CompletedProcess[str]:
        """Runs it; the command ``before`` goes in front, and ``env`` wins over what is needed to find the database."""
        defaults = {"SUPABASE_DB_URL": self.dsn, "DB_ENCRYPTION_KEY": PASSPHRASE}
        done = subprocess.run(
            [*before, sys.executable, SCRIPT, *arguments],
            cwd=self.config.parent,
            env={**clean_environment(), **defaults, **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding=env.get("PYTHONIOENCODING", "utf-8"),
            timeout=60,
            check=False,
        )
        for secret in _SECRETS:
            assert secret not in done.stdout + done.stderr
        return done

    def succeed(self, *arguments: str, **env: str) -> str:
        """Runs it, wants it to go well, and returns what it printed."""
        done = self(*arguments, before=(), **env)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def json(self, *arguments: str, **env: str) -> Any:
        return json.loads(self.succeed("--json", *arguments, **env))

    def fail(self, *arguments: str, before: tuple[str, ...] = (), **env: str) -> tuple[int, str]:
        """Runs it, wants one line on standard error and no backup, and returns the exit code and that line."""
        known = self.backups
        done = self(*arguments, before=before, **env)
        assert done.returncode != 0, done.stdout
        assert done.stderr.startswith("error: "), done.stderr
        assert done.stderr.count("\n") == 1, done.stderr
        assert self.backups == known
        return done.returncode, done.stderr.removeprefix("error: ").rstrip("\n")


def without(*capabilities: str) -> tuple[str, ...]:
    """What runs a command without rights that root has, so that the modes of files count for it as for everybody."""
    dropped = ",".join(f"-{each}" for each in capabilities)
    return ("setpriv", f"--bounding-set={dropped}") if os.geteuid() == 0 else ()
