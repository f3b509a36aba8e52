"""Looks for secrets where they do not belong."""

import base64
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from tests.abuse.judge import complain
from tests.abuse.world import CANARIES, World
from tests.integration.sql import connected
from tests.metrics import fetch

_TABLES = """
SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'm') AND n.nspname NOT IN ('pg_catalog', 'pg_toast') AND n.nspname !~ '^pg_temp'
"""
_DECOY = "no secret at all, and so to be found"


class Search:
    """Looks for canaries, as they are and in the usual disguises, and keeps count of the places."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._found: list[str] = []
        self._forms = {form for canary in CANARIES for form in disguises(canary)}

    def look(self, where: str, content: str | bytes) -> None:
        """Searches one thing. There must be something in it: an empty log proves nothing."""
        seen = content if isinstance(content, bytes) else content.encode()
        assert seen, where
        hits = [form for form in self._forms if form in seen]
        self._world.judge.tally.searched(where, len(hits))
        self._found += [f"{where}: {hit!r}" for hit in hits]

    async def look_at_what_is_left(self) -> None:
        """Searches the logs, the database and the access file."""
        await self._look_into_database()
        self.look("the log of the daemon, at debug", self._world.daemon.log.read_bytes())
        log = self._world.postgres_log.read_bytes()
        # It does hold what statements are called with.
        assert _DECOY.encode() in log
        self.look("the log of PostgreSQL, with all statements and parameters", log)
        self.look("the metrics", await fetch(f"http://{self._world.metrics}/metrics"))
        self.look("the access file", self._world.access.path.read_bytes())
        self.look("arguments of all processes", "\n".join(command_lines()))

    def conclude(self) -> None:
        """Fails when there was a hit."""
        complain(self._found)

    async def _look_into_database(self) -> None:
        async with connected(self._world.dsn) as db:
            assert await db.fetchval("SELECT $1::text", _DECOY) == _DECOY
            for (table,) in await db.fetch(_TABLES):
                rows = [row[0] for row in await db.fetch(f"SELECT t::text FROM {table} t")]
                self.look("every table, dumped", "\n".join([table, *rows]))
            sessions = await db.fetch("SELECT a::text FROM pg_stat_activity a")
            self.look("pg_stat_activity", "\n".join(row[0] for row in sessions))


def disguises(canary: str) -> Iterator[bytes]:
    """A text as logs, dumps and URLs may show it."""
    raw = canary.encode()
    yield from (raw, raw.hex().encode(), raw.hex().upper().encode(), quote(canary).encode())
    # Wherever it begins within other text, but for its ends.
    yield from (base64.b64encode(b"\0" * shift + raw)[4:-4] for shift in range(3))
    # As a plan that is printed spells bytes.
    yield " ".join(map(str, raw)).encode()


def command_lines() -> Iterator[str]:
    """The arguments of all processes, as every user of the machine can see them."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                yield (entry / "cmdline").read_text(errors="replace")
            except OSError:  # It has ended.
                continue
