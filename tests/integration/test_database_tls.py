"""TLS to a real PostgreSQL: who is believed, who is not, and what is said of it."""

import asyncio
import os
import random
import secrets
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from structlog.testing import capture_logs

from providerd.secret import Secret
from providerd_server import migrate
from providerd_server.databases import connected
from providerd_server.errors import ConfigurationError
from providerd_server.hub import Hub
from providerd_server.migrate import DatabaseUnreachableError
from providerd_server.source.postgres import PostgresSource
from providerd_server.store import Database, Keys
from providerd_server.store.tls import STRICT, Trust, UntrustedError
from tests.certificates import Authority, replace
from tests.daemon import PROVIDERD, clean_environment
from tests.integration.database_server import database_server, give_to_server, server_directory

HBA = """
local all all trust
hostssl all certified 127.0.0.0/8 cert
host all all 127.0.0.0/8 trust
"""
# What a name server would say; other names of the domain are the first server, too.
ADDRESSES: dict[str, str] = {}
PASSWORD = "hunter2-of-the-tests"
QUESTION = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"


class Server:
    """A PostgreSQL and URLs that lead there; ``name`` is in its certificate, and ``address`` is not."""

    def __init__(self, directory: Path, name: str, *, days: float, ssl: str) -> None:
        self.authority = Authority(directory)
        self.trust = Trust(self.authority.ca_file)
        self.name = name
        # All have one port, so each has an address of its own, and another one in each run.
        self.address = ".".join(["127", *(str(random.randint(1, 250)) for _ in range(3))])
        certificate, key = self.authority.issue("server", name, days=days)
        give_to_server(directory, certificate, key)
        self.settings = {
            "listen_addresses": self.address,
            "ssl": ssl,
            "ssl_cert_file": str(certificate),
            "ssl_key_file": str(key),
            "ssl_ca_file": str(self.authority.ca_file),
        }

    def url(self, host: str = "", user: str = "providerd", **parameters: object) -> Secret:
        query = "&".join(f"{name}={value}" for name, value in parameters.items())
        return Secret(f"postgresql://{user}:{PASSWORD}@{host or self.name}/providerd?{query}")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    yield from _servers("db.example.test")


@pytest.fixture(scope="module")
def expired() -> Iterator[Server]:
    yield from _servers("expired.example.test", days=-1)


@pytest.fixture(scope="module")
def plain() -> Iterator[Server]:
    yield from _servers("plain.example.test", ssl="off")


def _servers(name: str, *, days: float = 1, ssl: str = "on") -> Iterator[Server]:
    with server_directory() as directory:
        made = Server(directory, name, days=days, ssl=ssl)
        with database_server(directory, made.settings, hba=HBA) as postgres:
            asyncio.run(_create_role(postgres.dsn()))
            ADDRESSES[name] = made.address
            yield made


async def _create_role(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute("CREATE ROLE certified LOGIN")
    await connection.close()


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Names of a network that is not there lead to this machine, and no developer's files and settings are found."""
    resolve = socket.getaddrinfo

    def answer(host: Any, *arguments: Any, **options: Any) -> Any:
        if isinstance(host, str) and host.endswith(".example.test"):
            host = ADDRESSES.get(host, ADDRESSES["db.example.test"])
        return resolve(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in [name for name in os.environ if name.startswith("PG")]:
        monkeypatch.delenv(name)


async def encrypted(url: Secret, trust: Trust = STRICT) -> bool:
    connection = await Database(url, trust).connect()
    try:
        answer: bool = await connection.fetchval(QUESTION)
    finally:
        await connection.close()
    return answer


async def refused(url: Secret, trust: Trust = STRICT) -> str:
    """What is said of a server that is not believed, wherever the connection is opened."""
    with pytest.raises(UntrustedError) as alone:
        await Database(url, trust).connect()
    pool = await Database(url, trust).create_pool()
    with pytest.raises(UntrustedError) as pooled:
        await pool.acquire()
    pool.terminate()
    with pytest.raises(DatabaseUnreachableError) as migrating:
        await migrate.up(url.reveal(), trust)
    said = str(alone.value)
    assert said == str(pooled.value)
    assert str(migrating.value) == f"cannot connect to the database: {said}"
    assert "\n" not in said
    assert PASSWORD not in said
    return said


async def refused_at_start(url: Secret, trust: Trust = STRICT) -> str:
    """What is said of a configuration that no retry would mend, by all that start."""
    with pytest.raises(ConfigurationError) as serving:
        await Database(url, trust).create_pool()
    with pytest.raises(ConfigurationError) as migrating:
        await migrate.up(url.reveal(), trust)
    with pytest.raises(ConfigurationError) as importing:
        async with connected(url, trust):
            raise AssertionError("connected")
    said = str(serving.value)
    assert said == str(migrating.value) == str(importing.value)
    assert "\n" not in said
    assert PASSWORD not in said
    return said


async def test_beyond_this_machine_everything_is_verified_unless_told_otherwise(server: Server) -> None:
    assert await encrypted(server.url(), server.trust)
    assert "is refused (" in await refused(server.url())
    assert "is refused (" in await refused(server.url(sslmode="verify-full"))


@pytest.mark.parametrize("where", ["sslrootcert", "setting", "PGSSLROOTCERT", "home"])
async def test_where_the_authorities_come_from(
    server: Server, where: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = server.authority.ca_file
    home = tmp_path / ".postgresql"
    home.mkdir()
    if where == "home":
        (home / "root.crt").write_bytes(file.read_bytes())
    if where == "PGSSLROOTCERT":
        monkeypatch.setenv(where, str(file))
    url = server.url(sslrootcert=file) if where == "sslrootcert" else server.url()
    assert await encrypted(url, server.trust if where == "setting" else STRICT)


async def test_the_url_wins_over_the_setting_and_system_over_both(server: Server, tmp_path: Path) -> None:
    stranger = Authority(tmp_path, "stranger")
    assert "is refused (" in await refused(server.url(sslrootcert=stranger.ca_file), server.trust)
    assert "is refused (" in await refused(server.url(sslrootcert="system"), server.trust)


async def test_an_untrusted_certificate(server: Server, tmp_path: Path) -> None:
    said = await refused(server.url(), Trust(Authority(tmp_path, "stranger").ca_file))
    assert said.startswith("the certificate of the database db.example.test is refused (")
    assert said.endswith("): name the file of its authority with PROVIDERD_DATABASE_CA_FILE or sslrootcert")


async def test_a_certificate_for_another_name(server: Server) -> None:
    said = await refused(server.url("other.example.test"), server.trust)
    assert said == (
        "the certificate of the database other.example.test is refused (Hostname mismatch, certificate is not valid"
        " for 'other.example.test'): connect by a name that it is issued for, or have one issued for this name"
    )
    said = await refused(server.url(server.address, sslmode="verify-full"), server.trust)
    assert said.endswith("connect by a name that it is issued for, or have one issued for this address")


async def test_an_expired_certificate(expired: Server) -> None:
    assert await refused(expired.url(), expired.trust) == (
        "the certificate of the database expired.example.test is refused (certificate has expired):"
        " renew it on the database's server"
    )


async def test_a_server_without_tls(plain: Server) -> None:
    said = await refused(plain.url(), plain.trust)
    assert said.startswith(
        "the database plain.example.test offers no TLS, which sslmode=verify-full needs: set ssl = on"
    )
    assert not await encrypted(plain.url(plain.address))


async def test_on_this_machine_it_is_as_the_url_says(server: Server) -> None:
    assert await encrypted(server.url(server.address))
    assert await encrypted(server.url(server.address, sslmode="require"))
    assert not await encrypted(server.url(server.address, sslmode="disable"))
    assert "is refused (" in await refused(server.url(server.address, sslmode="verify-full"))


async def test_verify_ca_and_require_with_an_authority_take_any_name_of_it(server: Server, tmp_path: Path) -> None:
    stranger = Trust(Authority(tmp_path, "stranger").ca_file)
    for mode in ("verify-ca", "require"):
        assert await encrypted(server.url("other.example.test", sslmode=mode), server.trust)
        assert "is refused (" in await refused(server.url("other.example.test", sslmode=mode), stranger)


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer"])
async def test_modes_that_verify_nothing_are_refused_at_start(server: Server, mode: str) -> None:
    said = await refused_at_start(server.url(sslmode=mode), server.trust)
    assert said == (
        f"sslmode={mode} would show passwords and keys to whoever is on the way to db.example.test: use"
        " sslmode=verify-full, or where the network is to be trusted, PROVIDERD_DATABASE_INSECURE=true"
    )


async def test_require_without_an_authority_is_refused_at_start(server: Server) -> None:
    assert await refused_at_start(server.url(sslmode="require")) == (
        "sslmode=require would encrypt for whoever answers as db.example.test: name the file of its authority with"
        " PROVIDERD_DATABASE_CA_FILE or sslrootcert, or use sslmode=verify-full"
    )
    assert "would take the certificate of anybody" in await refused_at_start(server.url(sslmode="verify-ca"))
    assert "would encrypt" in await refused_at_start(server.url(sslmode="require", sslrootcert="system"))


async def test_the_mode_of_the_environment_counts(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGSSLMODE", "disable")
    assert "sslmode=disable would show" in await refused_at_start(server.url())
    assert await encrypted(server.url(sslmode="verify-full"), server.trust)


async def test_insecure_takes_them_and_warns(server: Server, plain: Server) -> None:
    insecure = Trust(insecure=True)
    for where, mode in ((plain, "disable"), (server, "prefer"), (server, "require")):
        with capture_logs() as logs:
            pool = await Database(where.url(sslmode=mode), insecure).create_pool()
        async with pool.acquire() as connection:
            assert await connection.fetchval(QUESTION) is (mode != "disable")
        pool.terminate()
        assert [(each["log_level"], each["sslmode"], each["hosts"]) for each in logs] == [("warning", mode, where.name)]
    # It is no reason to do so unasked.
    assert "is refused (" in await refused(server.url(), insecure)


async def test_each_of_several_hosts_is_verified(server: Server) -> None:
    assert await encrypted(server.url("other.example.test,db.example.test"), server.trust)
    said = await refused(server.url("other.example.test,another.example.test"), server.trust)
    assert said.startswith("the certificate of the database other.example.test,another.example.test is refused (")
    assert "would show" in await refused_at_start(server.url("localhost,db.example.test", sslmode="prefer"))
    assert "is refused (" in await refused(server.url(f"{server.address},other.example.test"), server.trust)


async def test_certificates_of_clients(server: Server, tmp_path: Path) -> None:
    certificate, key = server.authority.issue("certified", "client.example.test")
    files = {"sslcert": certificate, "sslkey": key}
    assert await encrypted(server.url(user="certified", **files), server.trust)
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError, match="valid client certificate"):
        await encrypted(server.url(user="certified"), server.trust)
    said = await refused_at_start(server.url(sslcert=key), server.trust)
    assert said.startswith(f"cannot use sslcert {key}: ")
    (tmp_path / ".postgresql").mkdir()
    (tmp_path / ".postgresql/postgresql.crt").write_bytes(certificate.read_bytes())
    (tmp_path / ".postgresql/postgresql.key").write_bytes(key.read_bytes())
    assert await encrypted(server.url(user="certified"), server.trust)


async def test_what_else_libpq_has_for_tls(server: Server) -> None:
    assert await encrypted(server.url(sslnegotiation="direct"), server.trust)
    assert await encrypted(server.url(ssl_min_protocol_version="TLSv1.3"), server.trust)
    assert "must be like TLSv1.2" in await refused_at_start(server.url(ssl_max_protocol_version="9"), server.trust)
    assert "cannot use sslcrl" in await refused_at_start(server.url(sslcrl="/nowhere"), server.trust)
    assert "must be one of disable, allow" in await refused_at_start(server.url(sslmode="full"), server.trust)
    assert "hosts cannot be checked" in await refused_at_start(server.url(service="mine"), server.trust)


async def test_a_url_that_cannot_be_read_shows_nothing_of_its_password() -> None:
    said = await refused_at_start(Secret(f"postgresql://u:{PASSWORD}@{PASSWORD}@db.example.test/d"))
    assert said == "SUPABASE_DB_URL cannot be read; write special characters in its password as %XX"


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "No such file or directory"), (b"garbage", "no certificate or crl found"), (b"", "no certificate")],
)
async def test_a_file_of_authorities_that_cannot_be_used(
    server: Server, tmp_path: Path, content: bytes | None, reason: str
) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    said = await refused_at_start(server.url(), Trust(file))
    assert said.startswith(f"cannot use PROVIDERD_DATABASE_CA_FILE {file}: {reason}")
    assert said.endswith("; it must be a readable PEM file")
    assert "cannot use sslrootcert" in await refused_at_start(server.url(sslrootcert=file))


async def test_the_newest_file_of_authorities_is_used_by_a_daemon_that_runs(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    replace(file, Authority(tmp_path, "stranger").ca_file.read_bytes())
    await migrate.up(server.url().reveal(), server.trust)
    database = Database(server.url(), Trust(file))
    source = PostgresSource(database, Keys(Secret("passphrase")), poll_interval=60, probe_interval=60)
    hub = Hub()
    with capture_logs() as logs:
        task = asyncio.create_task(source.run(hub.publish))
        for content, expected in ((None, "is refused ("), (b"garbage", "cannot use PROVIDERD_DATABASE_CA_FILE")):
            if content is not None:
                replace(file, content)
            async with asyncio.timeout(30):
                while not any(expected in str(each.get("error")) for each in logs):
                    await asyncio.sleep(0.02)
        replace(file, server.authority.ca_file.read_bytes())
        async with asyncio.timeout(30):
            await hub.wait_ready()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    assert not [each for each in logs if each["log_level"] == "error" or "exc_info" in each]
    assert PASSWORD not in str(logs)


def test_the_programs_say_it_in_one_line(server: Server, tmp_path: Path) -> None:
    def run(*command: str, url: Secret) -> tuple[int, str]:
        settings = {"SUPABASE_DB_URL": url.reveal(), "DB_ENCRYPTION_KEY": secrets.token_hex(32), "HOME": str(tmp_path)}
        done = subprocess.run(
            [PROVIDERD, *command],
            env={**clean_environment(), **settings},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stderr

    code, said = run("migrate", "status", url=server.url(server.address, sslmode="verify-full"))
    assert (code, said.count("\n")) == (7, 1)
    assert said.startswith(
        f"error: cannot connect to the database: the certificate of the database {server.address} is"
    )
    for command in (["serve"], ["migrate", "up"]):
        code, said = run(*command, url=server.url(sslmode="require"))
        assert code == 2
        assert said.splitlines()[-1].startswith("error: sslmode=require would encrypt for whoever answers as db.exampl")
        assert "Traceback" not in said
