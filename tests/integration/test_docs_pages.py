"""The README and the how-to pages: their examples, run as printed, print what is printed."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from providerd_server.embedded import EmbeddedPostgres
from tests.cli import environment, providerd
from tests.collector import collecting
from tests.daemon import running_daemon
from tests.docs_runner import ADDRESS, ROOT, Shell, check, examples

PASSPHRASE = "a passphrase of the tests"
KEY = "an-example-and-no-key"
ADMIN_SETTINGS = f'{{"groq": {{"api_key": "{KEY}"}}}}'


@pytest.mark.parametrize("name", ["configure-a-provider", "switch", "troubleshooting"])
def test_how_to_pages(name: str, tmp_path: Path, database: str, cluster: EmbeddedPostgres) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config/admin_settings.json").write_text(ADMIN_SETTINGS)
    settings = {"SUPABASE_DB_URL": database, "DB_ENCRYPTION_KEY": PASSPHRASE}
    with running_daemon(database, DB_ENCRYPTION_KEY=PASSPHRASE) as daemon:
        shell = Shell(tmp_path, daemon.address, cluster, {**settings, "API_KEY": KEY})
        assert check(ROOT / f"docs/how-to/{name}.md", shell) >= 9


def test_how_to_monitor(tmp_path: Path, database: str, cluster: EmbeddedPostgres) -> None:
    with running_daemon(database) as daemon:
        assert check(ROOT / "docs/how-to/monitor.md", Shell(tmp_path, daemon.address, cluster, {})) == 1


def test_how_to_trace(tmp_path: Path, database: str, cluster: EmbeddedPostgres) -> None:
    page = ROOT / "docs/how-to/trace.md"
    [program] = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    with collecting() as collector, running_daemon(database, **collector.environment) as daemon:
        process = subprocess.Popen(
            [sys.executable, "-c", program.replace(ADDRESS, daemon.address)],
            env=environment(daemon.address) | collector.environment | {"OTEL_SERVICE_NAME": "billing"},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "initial\n"
            assert check(page, Shell(tmp_path, daemon.address, cluster, {"SUPABASE_DB_URL": database})) == 3
            providerd("switch", "openrouter", server=daemon.address)
            assert process.stdout.readline() == "switched\n"
            collector.until(lambda: {span.name for span in collector.spans if span.service == "billing"} == {"apply"})
        finally:
            process.kill()
            process.wait(20)
            process.stdout.close()


def test_readme(open_directory: Path, tmp_path: Path, cluster: EmbeddedPostgres) -> None:
    settings = {"PROVIDERD_DATA_DIR": str(open_directory / "data")}
    with running_daemon("", **settings) as daemon:
        assert check(ROOT / "README.md", Shell(tmp_path, daemon.address, cluster, settings)) >= 5


def test_the_program_of_the_readme(database: str) -> None:
    [program] = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    with running_daemon(database) as daemon:
        process = subprocess.Popen(
            [sys.executable, "-u", "-c", program.replace(ADDRESS, daemon.address)],
            env=environment(daemon.address),
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        try:
            assert re.fullmatch(r"groq openai/gpt-oss-120b ready [\d.e-]+\n", process.stdout.readline())
            assert process.stdout.readline() == "initial groq\n"
        finally:
            process.kill()
            process.wait(20)
            process.stdout.close()


def test_nothing_but_what_must_wait_for_a_person_is_left_out() -> None:
    """Examples that are not run are the ones that could not be: they ask, or go on for ever."""
    for page in [ROOT / "README.md", *(ROOT / "docs/how-to").glob("*.md")]:
        prompts = re.findall(r"^\$ (.*)", page.read_text(), re.MULTILINE)
        run = {example.command.splitlines()[0] for example in examples(page)}
        left_out = {each for each in prompts if each.strip() not in run}
        assert all(re.search(r"\b(watch|serve|read -rs|set-key \w+ +#|migrate up +#)", each) for each in left_out), page
