"""The wheel as users get it: the bare SDK on the oldest and newest libraries it claims, and the migrations inside."""

import os
import subprocess
import sys
import textwrap
import venv
from pathlib import Path

import pytest

from tests.conftest import Psql
from tests.daemon import clean_environment, running_daemon

ROOT = Path(__file__).parents[2]

# The first releases with wheels for the Python at hand; 1.62 and 4.25 are the lowest that pyproject.toml claims.
OLDEST = ["grpcio==1.62.0" if sys.version_info < (3, 13) else "grpcio==1.66.2", "protobuf==4.25.0"]

USE_THE_SDK = """
    import importlib.util, sys
    import providerd, providerd.sync
    from providerd.v1 import provider_pb2, provider_pb2_grpc

    for absent in ("asyncpg", "click", "rich", "structlog", "pydantic", "google.rpc", "opentelemetry", "requests"):
        try:
            found = importlib.util.find_spec(absent)
        except ModuleNotFoundError:
            found = None
        assert found is None, absent
    with providerd.sync.Client(sys.argv[1], timeout=20) as client:
        client.wait_ready(timeout=20)
        print(client.active.provider_name, client.state.name)
        client.upsert({"provider_name": "openrouter", "is_enabled": True})
        client.switch("openrouter")
        print(client.active.provider_name, client.active.request_builder_config["version"])
        try:
            client.switch("nobody")
        except providerd.NotFoundError as error:
            print(error.reason)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--wheel", "--outdir", str(out), str(ROOT))
    (built,) = out.glob("*.whl")
    return built


def run(*command: str, cwd: Path | None = None, **env: str) -> str:
    done = subprocess.run(
        command, cwd=cwd, env={**clean_environment(), **env}, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def installed(directory: Path, *requirements: str) -> Path:
    """The bin directory of a new virtual environment with these installed."""
    venv.create(directory, with_pip=True)
    binaries = directory / "bin"
    run(str(binaries / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements)
    return binaries


@pytest.mark.parametrize("pins", [OLDEST, []], ids=["oldest", "newest"])
def test_the_bare_sdk_works_with_grpcio_and_protobuf_alone(
    wheel: Path, pins: list[str], database: str, tmp_path: Path
) -> None:
    binaries = installed(tmp_path / "venv", str(wheel), *pins)
    script = tmp_path / "use.py"
    script.write_text(textwrap.dedent(USE_THE_SDK))
    with running_daemon(database) as daemon:
        output = run(str(binaries / "python"), str(script), daemon.address, cwd=tmp_path)
    assert output.splitlines() == ["groq READY", "openrouter 1.0", "PROVIDER_NOT_FOUND"]
    said = subprocess.run(
        [binaries / "providerd", "get"], env=dict(os.environ), capture_output=True, text=True, timeout=60, check=False
    )
    assert said.returncode != 0
    assert "providerd[cli]" in said.stderr
    assert "Traceback" not in said.stderr


def test_the_migrations_travel_in_the_wheel(wheel: Path, empty_database: str, psql: Psql, tmp_path: Path) -> None:
    binaries = installed(tmp_path / "venv", f"{wheel}[server]")
    output = run(str(binaries / "providerd"), "migrate", "up", cwd=tmp_path, SUPABASE_DB_URL=empty_database)
    assert "applied 001_create_llm_provider_configs.sql" in output
    active = psql(empty_database, "-c", "SELECT provider_name FROM get_active_provider()")
    assert active.stdout.strip() == "groq"
