"""The warning about servers whose pgcrypto has a known hole, against a real one and the published versions."""

import asyncpg
import pytest

from providerd_server.pgversion import version_warning


@pytest.mark.parametrize("fixed", [140_021, 150_016, 160_012, 170_008, 180_002])
def test_the_first_fixed_minor_is_where_the_warning_ends(fixed: int) -> None:
    before = version_warning(fixed - 1)
    assert before is not None
    assert f"update it to {fixed // 10_000}.{fixed % 10_000}" in before
    assert version_warning(fixed) is None


def test_branches_without_support_and_branches_to_come() -> None:
    assert "move to a supported major version" in str(version_warning(130_023))
    assert version_warning(190_000) is None


async def test_a_running_server_says_its_version(empty_database: str) -> None:
    connection = await asyncpg.connect(empty_database)
    number = int(await connection.fetchval("SHOW server_version_num"))
    await connection.close()
    assert version_warning(number) == (
        "PostgreSQL 18.1 has CVE-2026-2005 in pgcrypto: update it to 18.2 or newer" if number < 180_002 else None
    )
