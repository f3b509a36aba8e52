"""Which hosts a database URL names: the very ones that asyncpg connects to."""

import inspect

import pytest
from asyncpg import connect_utils

from providerd.secret import Secret
from providerd_server.store.hosts import hosts_of, is_local

# Its private parser has no defaults.
REST = inspect.signature(connect_utils._parse_connect_dsn_and_args).parameters.keys() - {"dsn", "ssl"}


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p@db.example.test:5433/d",
        "postgresql://u:p@DB.example.test,10.0.0.1:7,[::1],[fe80::1]:5433/d",
        "postgresql://u:p%40x@db.example.test/d?sslmode=disable",
        "postgresql://db.example.test",
        "postgresql://u@/d?host=/run/postgresql",
        "postgresql://u@/d?host=h1:5433,h2,/run/postgresql",
        "postgresql://u@/d?host=h1&host=h2",
        "postgresql://u@%2Frun%2Fpostgresql/d",
        "postgresql://u@h%31/d?host=/run/postgresql",
        "postgresql://u@/d",
    ],
)
@pytest.mark.parametrize("environment", ["", "e1:5433,e2"])
def test_they_are_those_of_asyncpg(url: str, environment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", environment)
    addresses, _ = connect_utils._parse_connect_dsn_and_args(dsn=url, ssl=False, **dict.fromkeys(REST))
    parsed = [each.rpartition("/")[0] if isinstance(each, str) else each[0] for each in addresses]
    found = hosts_of(Secret(url))
    assert found == parsed if found else all(map(is_local, parsed))


def test_a_password_that_ends_early_is_no_host() -> None:
    with pytest.raises(ValueError, match="not written as %40"):
        hosts_of(Secret("postgresql://u:pass@word@db.example.test/d"))


@pytest.mark.parametrize("host", ["/run/postgresql", "localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "::1"])
def test_what_stays_on_this_machine(host: str) -> None:
    assert is_local(host)


@pytest.mark.parametrize(
    "host",
    ["db", "localhost.", "localhost.example.test", "127.1", "127.0.0.1.example.test", "10.0.0.1", "0.0.0.0", "::"],
)
def test_what_may_leave_it(host: str) -> None:
    assert not is_local(host)
