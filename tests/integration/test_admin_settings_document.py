"""The how-to page of the importer: its examples, run as printed, print what is printed."""

import re
import subprocess
import sys
from pathlib import Path

from tests.daemon import clean_environment

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/how-to/import-admin-settings.md").read_text()


def test_examples(tmp_path: Path, database: str) -> None:
    [settings] = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "config").mkdir()
    (tmp_path / "config/admin_settings.json").write_text(settings)
    (tmp_path / "scripts").symlink_to(ROOT / "scripts")
    examples = [
        example
        for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
        for example in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)
    ]
    assert len(examples) == PAGE.count("\n$ ") > 10
    for command, printed in examples:
        assert normal(run(command, tmp_path, database)) == normal(printed), command
    assert list((tmp_path / "config").iterdir()) == []


def run(command: str, directory: Path, dsn: str) -> str:
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=directory,
        env={
            **clean_environment(),
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "SUPABASE_DB_URL": dsn,
            "DB_ENCRYPTION_KEY": "a passphrase of the tests",
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout


def normal(printed: str) -> str:
    """Without what is another each time."""
    printed = re.sub(r"\d{8}T\d{6}\.\d{6}Z", "TIME", printed)
    return re.sub(r"sha256:[0-9a-f]{16}", "sha256:FINGERPRINT", printed)
