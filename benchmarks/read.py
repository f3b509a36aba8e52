"""What ``client.active`` costs, beside a plain Python property that returns an attribute."""

import timeit

import providerd

ROUNDS, PER_ROUND = 7, 1_000_000


class _Plain:
    def __init__(self) -> None:
        self._value = object()

    @property
    def value(self) -> object:
        return self._value


async def measure_read(target: str) -> None:
    async with providerd.Client(target) as client:
        await client.wait_ready(timeout=30)
        bounded = providerd.Client(target, max_age=3600)
        async with bounded:
            await bounded.wait_ready(timeout=30)
            rows = [
                ("plain property", _nanoseconds("plain.value", plain=_Plain())),
                ("client.active", _nanoseconds("client.active", client=client)),
                ("client.active with max_age", _nanoseconds("client.active", client=bounded)),
            ]
    print(f"\na cached read, best of {ROUNDS} x {PER_ROUND:,}")
    for label, cost in rows:
        print(f"  {label:36}{cost:7.1f} ns{cost / rows[0][1]:7.2f} x")


def _nanoseconds(statement: str, **names: object) -> float:
    return min(timeit.repeat(statement, globals=names, repeat=ROUNDS, number=PER_ROUND)) / PER_ROUND * 1e9
