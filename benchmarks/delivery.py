"""From the start of a SwitchProvider call to the SDK's callback, beside the least that PostgreSQL itself needs.

The baseline is raw asyncpg: an UPDATE and a pg_notify in one transaction, until a listener's callback runs. Both are
durable, both on one machine, and they take turns, so that noise meets both alike.
"""

import asyncio
import statistics
import time

import asyncpg

import providerd

PAIR = ("groq", "openrouter")


async def measure_delivery(dsn: str, target: str, switches: int) -> None:
    raw = await _Raw.open(dsn)
    async with providerd.Client(target, timeout=30) as client:
        await client.wait_ready(timeout=30)
        await client.upsert({"provider_name": "openrouter", "is_enabled": True})
        ours, baseline = [], []
        for turn in range(-20, switches):
            seconds, raw_seconds = await _switch(client, PAIR[turn % 2]), await raw.once()
            if turn >= 0:  # the first ones warm both up
                ours.append(seconds)
                baseline.append(raw_seconds)
    await raw.close()
    print(f"switch -> callback, {switches} switches, PostgreSQL with fsync on, one machine")
    print(f"{'':34}{'p50':>10}{'p99':>10}")
    for label, samples in (("SwitchProvider -> SDK callback", ours), ("asyncpg UPDATE + NOTIFY -> callback", baseline)):
        print(f"  {label:36}{_percentile(samples, 50):7.2f} ms{_percentile(samples, 99):7.2f} ms")
    print(
        f"  {'ratio':36}{_percentile(ours, 50) / _percentile(baseline, 50):7.2f} x "
        f"{_percentile(ours, 99) / _percentile(baseline, 99):7.2f} x"
    )


async def _switch(client: providerd.Client, name: str) -> float:
    if client.active.provider_name == name:
        name = PAIR[1 - PAIR.index(name)]
    heard: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    def on_change(change: providerd.Change) -> None:
        if change.provider is not None and change.provider.provider_name == name and not heard.done():
            heard.set_result(time.perf_counter())

    unsubscribe = client.on_change(on_change)
    began = time.perf_counter()
    await client.switch(name)
    ended = await asyncio.wait_for(heard, 10)
    unsubscribe()
    return ended - began


class _Raw:
    """Two connections: one that changes a row and notifies, one that listens."""

    def __init__(self, writer: asyncpg.Connection, listener: asyncpg.Connection) -> None:
        self._writer, self._listener = writer, listener
        self._heard = asyncio.Event()

    @classmethod
    async def open(cls, dsn: str) -> "_Raw":
        raw = cls(await asyncpg.connect(dsn), await asyncpg.connect(dsn))
        await raw._writer.execute("CREATE TABLE raw_baseline (n bigint); INSERT INTO raw_baseline VALUES (0)")
        await raw._listener.add_listener("raw_baseline", lambda *_: raw._heard.set())
        return raw

    async def once(self) -> float:
        self._heard.clear()
        began = time.perf_counter()
        async with self._writer.transaction():
            await self._writer.execute("UPDATE raw_baseline SET n = n + 1")
            await self._writer.execute("SELECT pg_notify('raw_baseline', '')")
        await self._heard.wait()
        return time.perf_counter() - began

    async def close(self) -> None:
        await self._writer.close()
        await self._listener.close()


def _percentile(samples: list[float], percent: int) -> float:
    return statistics.quantiles(samples, n=100)[percent - 1] * 1000
