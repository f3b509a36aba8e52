"""Daemons whose metrics are looked at."""

import asyncio
import contextlib
import urllib.error
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from serving import Serving, serving

from tests.cli import MINIMAL
from tests.metrics import Scrape, scrape


@asynccontextmanager
async def watched(database: str, address: str, **flags: Any) -> AsyncIterator[Serving]:
    async with serving(database, metrics_listen=address, **flags) as daemon:
        for name in ("one", "two"):
            await daemon.call("UpsertProvider", provider={"provider_name": name, **MINIMAL})
        await daemon.call("SwitchProvider", provider_name="one")
        yield daemon


async def until(address: str, holds: Callable[[Scrape], bool]) -> Scrape:
    """What is shown, once there is anything and this holds for it."""
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(urllib.error.URLError):
                if holds(found := await scrape(address)):
                    return found
            await asyncio.sleep(0.05)
