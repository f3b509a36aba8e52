"""Daemons that are broken on purpose, to show that the checker can tell."""

import shutil
from pathlib import Path

SERVER = Path(__file__).parents[2] / "server" / "providerd_server"

_READ = """            if self._must_read or await self._revision(connection) != self._current:
                self._must_read = False
"""
_SERIAL_READ = """            serial = await connection.fetchval("SELECT max(id) FROM llm_provider_config_history")
            if self._current is None or serial > self._serial:
                self._serial = serial
"""
_HINT = """        self._must_read = True
        self._wake.set()
"""
_LISTENED = """            # What was committed before LISTEN took effect was not announced to us.
            self._on_change(None)
"""
_CATCH_UP = """            state = await self._catch_up(mailbox, known, state)
"""
_POLL = "async with asyncio.timeout(pause):"

# What is replaced by what, by the file it is in.
BUILDS: dict[str, dict[str, list[tuple[str, str]]]] = {
    "a cursor over SERIAL ids": {
        "source/postgres.py": [(_READ, _SERIAL_READ), (_HINT, "        self._wake.set()\n")],
    },
    "LISTEN after the read": {"source/listener.py": [(_LISTENED, "")]},
    "no catching up": {"watch.py": [(_CATCH_UP, "            pass\n")]},
    "no poll": {"source/postgres.py": [(_POLL, "async with asyncio.timeout(None):")]},
}


def broken_build(name: str, directory: Path) -> Path:
    """Makes a copy of the daemon with one of ``BUILDS`` broken; returns what to put first on PYTHONPATH."""
    copy = directory / "providerd_server"
    shutil.copytree(SERVER, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for file, replacements in BUILDS[name].items():
        path = copy / file
        text = path.read_text()
        for right, wrong in replacements:
            assert text.count(right) == 1, f"{file} is no longer what this build was made from: {right}"
            text = text.replace(right, wrong)
        path.write_text(text)
    return directory
