"""The how-to pages of the command line: their examples, run as printed, print what is printed."""

from pathlib import Path

import pytest

from providerd_server.embedded import EmbeddedPostgres
from tests.daemon import running_daemon
from tests.docs_runner import ROOT, Shell, check


@pytest.mark.parametrize("name", ["audit", "roll-back", "configuration-as-code"])
def test_how_to_pages(name: str, tmp_path: Path, database: str, cluster: EmbeddedPostgres) -> None:
    with running_daemon(database, DB_ENCRYPTION_KEY="a passphrase of the tests") as daemon:
        shell = Shell(tmp_path, daemon.address, cluster, {"SUPABASE_DB_URL": database})
        assert check(ROOT / f"docs/how-to/{name}.md", shell) >= 12
