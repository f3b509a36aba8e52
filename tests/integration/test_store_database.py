"""Connections of the pool: what callers see of one that is taken away from them."""

import itertools

import pytest

from providerd.secret import Secret
from providerd_server.store.database import CONNECTION_ERRORS, Database, acquired


async def test_whatever_a_connection_is_doing_when_its_time_is_over_it_is_the_connection_that_failed(
    database: str,
) -> None:
    pool = await Database(Secret(database)).create_pool()
    try:
        for turn in range(100):
            with pytest.raises(CONNECTION_ERRORS):
                async with acquired(pool, wait=5, limit=0.002 + turn * 1e-5) as connection:
                    # Each of them is prepared first, so that there are several steps to be taken away in.
                    for number in itertools.count():
                        await connection.fetchrow(f"SELECT {number}")
    finally:
        pool.terminate()
