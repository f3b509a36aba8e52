"""Settings: where each comes from, which one wins, and that no secret is shown."""

import inspect
from datetime import timedelta
from pathlib import Path

import pytest
from asyncpg import connect_utils

from providerd.secret import Secret
from providerd_server.described import describe
from providerd_server.errors import ConfigurationError
from providerd_server.settings import load, place_of
from providerd_server.store import Database


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def url(**flags: object) -> str | None:
    found = load(**flags).database_url
    return found.reveal() if found else None


def test_without_any_setting_the_database_is_the_embedded_one() -> None:
    settings = load()
    assert settings.database_url is None
    assert settings.listen == ["127.0.0.1:50051"]


def test_the_url_of_the_founding_document_works_from_dotenv(elsewhere: Path) -> None:
    (elsewhere / ".env").write_text("SUPABASE_DB_URL=postgresql://u:p@db.example:6543/postgres\nDB_ENCRYPTION_KEY=k\n")
    assert url() == "postgresql://u:p@db.example:6543/postgres"
    assert load().db_encryption_key.reveal() == "k"


def test_the_single_variables_of_the_founding_document_make_a_url(elsewhere: Path) -> None:
    (elsewhere / ".env").write_text(
        "SUPABASE_DB_HOST=db.example\nSUPABASE_DB_PORT=5433\nSUPABASE_DB_NAME=main\n"
        "SUPABASE_DB_USER=me@x\nSUPABASE_DB_PASSWORD='p:/@ss'\n"
    )
    assert url() == "postgresql://me%40x:p%3A%2F%40ss@db.example:5433/main"


def test_the_port_is_that_of_each_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPABASE_DB_HOST", "db1.example, ::1,db2.example")
    assert url() == "postgresql://postgres@db1.example:5432,[::1]:5432,db2.example:5432/postgres"
    monkeypatch.setenv("SUPABASE_DB_PORT", "6000")
    rest = inspect.signature(connect_utils._parse_connect_dsn_and_args).parameters.keys() - {"dsn", "ssl"}
    addresses, _ = connect_utils._parse_connect_dsn_and_args(dsn=url(), ssl=False, **dict.fromkeys(rest))
    assert addresses == [("db1.example", 6000), ("::1", 6000), ("db2.example", 6000)]


def test_flags_win_over_the_environment_and_that_over_dotenv(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (elsewhere / ".env").write_text("PROVIDERD_LOG_LEVEL=error\nPROVIDERD_POOL_SIZE=9\nPROVIDERD_LISTEN=127.0.0.1:1\n")
    monkeypatch.setenv("PROVIDERD_LOG_LEVEL", "warning")
    monkeypatch.setenv("PROVIDERD_LISTEN", "127.0.0.1:2, unix:///run/p.sock")
    settings = load(log_level="debug", listen=None)
    assert (settings.log_level, settings.pool_size) == ("debug", 9)
    assert settings.listen == ["127.0.0.1:2", "unix:///run/p.sock"]
    sources = {setting.name: setting.source for setting in describe(settings, log_level="debug", listen=None)}
    assert sources["PROVIDERD_LOG_LEVEL"] == "flag"
    assert sources["PROVIDERD_LISTEN"] == "environment"
    assert sources["PROVIDERD_POOL_SIZE"] == ".env"
    assert sources["PROVIDERD_POLL_INTERVAL"] == "default"


def test_secrets_are_masked_wherever_settings_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPABASE_DB_URL", "postgresql://u:canary-password@h/db")
    monkeypatch.setenv("DB_ENCRYPTION_KEY", "canary-passphrase")
    settings = load()
    shown = repr(settings) + str(settings) + repr(describe(settings)) + repr(settings.database_url)
    assert "canary" not in shown


def test_the_database_is_shown_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPABASE_DB_URL", "postgresql://me:canary@db.example:5433/main?password=canary&sslmode=require")
    shown = {setting.name: setting.value for setting in describe(load())}
    assert shown["SUPABASE_DB_URL"] == "postgresql://me@db.example:5433/main"
    assert place_of(Secret("postgresql://p@/d?host=/run/p")) == "postgresql://p@/run/p/d"


def test_several_hosts_make_a_url(monkeypatch: pytest.MonkeyPatch) -> None:
    several = "postgresql://u:p@h1:5432,[::1]:5433/db?target_session_attrs=read-write"
    monkeypatch.setenv("SUPABASE_DB_URL", several)
    assert url() == several
    assert not Database(Secret(several)).pooled
    assert Database(Secret("postgresql://u:p@h:6543/db")).pooled
    assert place_of(Secret(several)) == "postgresql://u@h1:5432,[::1]:5433/db"


def test_a_home_directory_is_meant_by_its_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("PROVIDERD_DATA_DIR", "~/data")
    assert load().data_dir == Path("/home/me/data")


def test_levels_may_be_written_in_capitals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROVIDERD_LOG_LEVEL", "INFO")
    assert load().log_level == "info"


@pytest.mark.parametrize(("text", "days"), [("90d", 90), ("2w", 14), ("48h", 2)])
def test_the_history_is_kept_for_a_time_with_a_unit(text: str, days: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load().history_retention is None
    monkeypatch.setenv("PROVIDERD_HISTORY_RETENTION", text)
    assert load().history_retention == timedelta(days=days)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("PROVIDERD_HISTORY_RETENTION", "90", "PROVIDERD_HISTORY_RETENTION: must be a number and a unit"),
        ("PROVIDERD_HISTORY_RETENTION", "0d", "PROVIDERD_HISTORY_RETENTION: must be a number and a unit"),
        ("PROVIDERD_LISTEN", "nonsense", "PROVIDERD_LISTEN: must be host:port or unix:///path"),
        ("PROVIDERD_LISTEN", ",", "PROVIDERD_LISTEN: must name at least one address"),
        ("PROVIDERD_LISTEN", "unix:///" + "x" * 120, "at most 107 bytes"),
        ("PROVIDERD_POLL_INTERVAL", "-1", "PROVIDERD_POLL_INTERVAL: "),
        ("PROVIDERD_LOG_LEVEL", "loud", "PROVIDERD_LOG_LEVEL: "),
        ("SUPABASE_DB_URL", "mysql://canary@h/db", "SUPABASE_DB_URL must start with postgresql://"),
        ("SUPABASE_DB_URL", "postgresql://u:pa/canary@h/db", "SUPABASE_DB_URL cannot be read; write special"),
        ("SUPABASE_DB_URL", "postgresql://u:pa#canary@h/db", "SUPABASE_DB_URL cannot be read"),
        ("SUPABASE_DB_URL", "postgresql://u:pa?canary@h/db", "SUPABASE_DB_URL cannot be read"),
        ("SUPABASE_DB_URL", "postgresql://u:p@[canary/db", "SUPABASE_DB_URL cannot be read"),
        ("SUPABASE_DB_URL", "postgresql://u:p@h:canary/db", "SUPABASE_DB_URL cannot be read"),
        ("SUPABASE_DB_PASSWORD", "canary", "SUPABASE_DB_HOST is missing"),
        ("SUPABASE_DB_HOST", "canary,,db2", "SUPABASE_DB_HOST: must be a host, or several"),
    ],
)
def test_a_wrong_setting_is_named_without_its_value(
    name: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        load()
    assert said in str(caught.value)
    assert "canary" not in str(caught.value)
    assert "\n" not in str(caught.value)
