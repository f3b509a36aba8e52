"""export and import against a real daemon: the configuration as one file, and a plan before it is applied."""

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from providerd_server.embedded import EmbeddedPostgres
from tests.cli import MINIMAL, Cli, Terminal, cli_with_daemon
from tests.conftest import Psql

KEY = "sk-canary-in-a-file"


@pytest.fixture(scope="module")
def cli(cluster: EmbeddedPostgres, psql: Psql, template: str) -> Iterator[Cli]:
    with cli_with_daemon(cluster, psql, template) as cli:
        yield cli


def newest(cli: Cli) -> int:
    return int(cli.sql("SELECT revision FROM llm_provider_store"))


def exported(cli: Cli) -> dict[str, Any]:
    done = cli("export", "--format", "json")
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_what_is_exported_imports_to_no_change(cli: Cli, tmp_path: Path) -> None:
    cli.create(
        "odd", display_name="Ünï 'quoted' \U0001f600", description="yes\n- no: 1e3\t#", supported_models=["small"]
    )
    cli.create("dated", additional_headers={"X-No": "off", "X-Time": "2026-03-01", "X-Exponent": "1e3"})
    revision = newest(cli)
    for name in ("all.yaml", "all.json"):
        file = tmp_path / name
        assert cli("export", "-o", str(file)).stdout == f"wrote 6 providers as of revision {revision} to {file}\n"
        done = cli("import", str(file))
        assert done.stdout == f"nothing to do: revision {revision} is as the file says\n"
        assert (done.returncode, done.stderr) == (0, "")
    both = yaml.safe_load((tmp_path / "all.yaml").read_text()), json.loads((tmp_path / "all.json").read_text())
    assert both[0] == both[1]
    assert newest(cli) == revision


def test_an_export_is_the_same_each_time_and_holds_what_people_write(cli: Cli) -> None:
    cli("set-key", "openrouter", stdin=f"{KEY}\n")
    first, second = cli("export"), cli("export")
    assert first.stdout == second.stdout
    assert KEY not in first.stdout
    content = yaml.safe_load(first.stdout)
    assert list(content) == ["revision", "active", "providers"]
    assert (content["revision"]["number"], content["active"]) == (newest(cli), "groq")
    assert [each["provider_name"] for each in content["providers"]] == sorted(
        each["provider_name"] for each in content["providers"]
    )
    groq = next(each for each in content["providers"] if each["provider_name"] == "groq")
    assert list(groq)[:2] == ["provider_name", "display_name"]
    output_only = {"is_active", "config_version", "create_time", "update_time", "updated_by", "has_key"}
    assert not {*output_only, "key_fingerprint"} & set(groq)
    rules = groq["response_extractor_config"]["extraction_rules"]
    assert list(rules) == sorted(rules)


def test_a_file_is_replaced_as_a_whole_and_may_be_read_by_all(cli: Cli, tmp_path: Path) -> None:
    old = tmp_path / "old.yaml"
    old.write_text("old")
    link = tmp_path / "link.yaml"
    link.symlink_to(old)
    before = old.stat().st_ino
    assert cli("export", "-o", str(link)).returncode == 0
    assert link.is_symlink()
    assert old.stat().st_ino != before
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(old.stat().st_mode) == 0o666 & ~umask
    assert sorted(each.name for each in tmp_path.iterdir()) == ["link.yaml", "old.yaml"]


def test_a_device_is_written_to_and_not_replaced(cli: Cli) -> None:
    assert cli("export", "-o", "/dev/null").returncode == 0
    assert Path("/dev/null").is_char_device()


def test_a_file_that_cannot_be_written_is_one_line(cli: Cli, tmp_path: Path) -> None:
    refused = cli("export", "-o", str(tmp_path / "nowhere" / "a.yaml"))
    assert refused.returncode == 1
    assert refused.stderr == f"error: cannot write {tmp_path}/nowhere/a.yaml: No such file or directory\n"


def test_a_plan_is_shown_and_applied_in_one_revision(cli: Cli, tmp_path: Path) -> None:
    cli.create("doomed")
    wanted = exported(cli)
    wanted["active"] = "fresh"
    wanted["providers"] = [each for each in wanted["providers"] if each["provider_name"] != "doomed"]
    wanted["providers"] += [{"provider_name": "fresh", **MINIMAL}]
    next(each for each in wanted["providers"] if each["provider_name"] == "groq")["display_name"] = "Groq Cloud"
    file = tmp_path / "wanted.json"
    file.write_text(json.dumps(wanted))
    revision = newest(cli)

    tried = cli("import", str(file), "--delete-missing", "--dry-run")
    lines = tried.stdout.splitlines()
    assert [line for line in lines if not line.startswith("  + ")] == [
        "- doomed",
        "+ fresh",
        "~ groq",
        '  ~ display_name: "Groq" → "Groq Cloud"',
        "= active: groq → fresh",
        f"nothing is changed: this is what would happen at revision {revision}",
    ]
    assert newest(cli) == revision

    done = cli("import", str(file), "--delete-missing", "--yes", "--reason", "as in git", "--actor", "pipeline")
    assert done.stdout.splitlines() == [*lines[:-1], f"applied, revision {revision + 1}"]
    assert newest(cli) == revision + 1
    assert cli.json("get")["provider"]["provider_name"] == "fresh"
    entries = cli.json("history", "--from-revision", str(revision + 1))
    assert {(each["actor"], each["reason"]) for each in entries} == {("pipeline", "as in git")}
    assert {each["action"] for each in entries} >= {"created", "deleted", "activated", "deactivated"}
    cli("switch", "groq")


def test_providers_that_the_file_does_not_name_stay_unless_told(cli: Cli) -> None:
    cli.create("unnamed")
    only = json.dumps({"providers": [{"provider_name": "named", **MINIMAL}]})
    assert cli("import", "-", "--yes", stdin=only).returncode == 0
    assert cli("show", "unnamed").returncode == cli("show", "named").returncode == 0
    refused = cli("import", "-", "--yes", "--delete-missing", stdin=only)
    assert refused.returncode == 4
    assert "[PROVIDER_ACTIVE]" in refused.stderr


def test_programs_get_the_plan_and_the_outcome(cli: Cli) -> None:
    base = newest(cli)
    text = json.dumps({"providers": [{"provider_name": "parsed", **MINIMAL}]})
    plan = cli.json("import", "-", "--dry-run", stdin=text)
    assert (plan["base_revision"]["number"], plan["revision"]) == (base, None)
    assert [(each["provider_name"], each["kind"]) for each in plan["diffs"]] == [("parsed", "added")]
    done = cli("import", "-", "--yes", "--json", stdin=text)
    assert json.loads(done.stdout)["revision"]["number"] == base + 1
    assert done.stderr.startswith("+ parsed\n")
    assert cli.json("import", "-", stdin=text)["diffs"] == []


def test_without_a_terminal_the_plan_is_shown_and_nothing_happens(cli: Cli) -> None:
    revision = newest(cli)
    refused = cli("import", "-", stdin=json.dumps({"providers": [{"provider_name": "unasked", **MINIMAL}]}))
    assert refused.returncode == 2
    assert refused.stdout.startswith("+ unasked\n")
    (line,) = refused.stderr.splitlines()
    assert "--yes" in line
    assert newest(cli) == revision


def test_what_the_plan_did_not_show_is_not_applied(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "raced.json"
    file.write_text(json.dumps({"providers": [{"provider_name": "raced", **MINIMAL}]}))
    with Terminal(cli, "import", str(file)) as terminal:
        terminal.wait_for("Apply this? [y/N]: ")
        cli.create("faster")
        terminal.type("", "y")
        assert terminal.end() == 6
        assert "nothing was applied: " in terminal.seen
        assert "import again to see a new plan [REVISION_MISMATCH]" in " ".join(terminal.seen.split())
    assert cli("show", "raced").returncode == 3
    with Terminal(cli, "import", str(file)) as terminal:
        terminal.type("Apply this? [y/N]: ", "y")
        assert terminal.end() == 0
    assert cli("show", "raced").returncode == 0


def test_an_expected_revision_that_is_not_the_newest_is_6(cli: Cli) -> None:
    text, revision = json.dumps({"providers": [{"provider_name": "expected", **MINIMAL}]}), newest(cli)
    refused = cli("import", "-", "--yes", "--expected-revision", str(revision - 1), stdin=text)
    assert refused.returncode == 6
    assert refused.stderr.endswith("import again to see a new plan [REVISION_MISMATCH]\n")
    assert cli("import", "-", "--yes", "--expected-revision", str(revision), stdin=text).returncode == 0


def test_a_file_that_is_older_than_the_store_is_pointed_out(cli: Cli) -> None:
    cli.create("aging", description="old")
    old = cli("export").stdout
    then = newest(cli)
    cli.json("upsert", "-f", "-", stdin=json.dumps({"provider_name": "aging", "description": "new"}))
    tried = cli("import", "-", "--dry-run", stdin=old)
    assert f"exported at revision {then} and the store is at {then + 1}" in tried.stderr
    assert tried.stderr.endswith("[FILE_IS_OLDER]\n")
    assert '  ~ description: "new" → "old"' in tried.stdout
    assert cli("import", "-", "--dry-run", stdin=cli("export").stdout).stderr == ""
    assert cli("export", "--at", str(then)).stdout == old


@pytest.mark.parametrize("name", ["api_key", "apiKey", "new_api_key", "API-KEY", "api_key_encrypted", "credential"])
@pytest.mark.parametrize("inside", [True, False])
def test_a_file_with_a_key_is_5_and_the_key_is_not_shown(cli: Cli, name: str, inside: bool) -> None:
    content: dict[str, Any] = {"providers": [{"provider_name": "keyed", **MINIMAL}]}
    (content["providers"][0] if inside else content)[name] = KEY
    refused = cli("import", "-", "--yes", stdin=json.dumps(content))
    assert refused.returncode == 5
    assert name in refused.stderr
    assert "set-key" in refused.stderr
    assert KEY not in refused.stderr + refused.stdout


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"providers:\n- {KEY}: [1,\n", "is not YAML in line 3, column 1"),
        (f"providers:\n\t- {KEY}\n", "is not YAML in line 2, column 1"),
        (f"providers: !{KEY} x\n", "is not YAML in line 1, column 12"),
        (f"a: &{KEY} [1]\nb: *{KEY}\n", "has an alias in line 2, column 4"),
        (f'{{"providers": [\n"{KEY}\n', "is not JSON in line 2"),
        (f"x: 2026-99-99 {KEY}\ny: 2026-99-99\n", "is not YAML"),
        ("[" * 5000, "is not YAML"),
        (f"- {KEY}\n", "must be a mapping with a list of `providers`"),
        (f"providers: {KEY}\n", "must be a mapping with a list of `providers`"),
        (f"providers: []\n{KEY}: 1\n", "has 1 unknown field(s); there are active, providers, revision"),
        (f"providers: [{{}}, {KEY}]\n", "must have a mapping of field names to values as provider 2"),
        (f"providers: [{{1: {KEY}}}]\n", "must have a mapping of field names to values as provider 1"),
        (f"providers: []\nactive: [{KEY}]\n", "must have the name of a provider as `active`"),
        (f"providers: []\nrevision: {KEY}\n", "must have `store_id` and `number` as `revision`"),
        ("\x00", "is not YAML"),
    ],
)
def test_a_file_that_is_none_is_5_and_not_shown(cli: Cli, text: str, said: str) -> None:
    refused = cli("import", "-", "--yes", stdin=text)
    assert refused.returncode == 5
    (line,) = refused.stderr.splitlines()
    assert line.startswith("error: <stdin> ")
    assert said in line
    assert KEY not in refused.stderr + refused.stdout


def test_every_field_at_fault_is_named_and_no_value_is_shown(cli: Cli) -> None:
    wrong = [
        {"provider_name": "one", **MINIMAL, "context_window_tokens": KEY},
        {"provider_name": "two", **MINIMAL, "nonsense": KEY, "is_enabled": KEY},
    ]
    refused = cli("import", "-", "--yes", stdin=json.dumps({"providers": wrong}))
    assert refused.returncode == 5
    assert [line.partition(":")[0] for line in refused.stderr.splitlines()[1:]] == [
        "  providers[0].context_window_tokens",
        "  providers[1].nonsense",
        "  providers[1].is_enabled",
    ]
    assert KEY not in refused.stderr


def test_files_that_are_too_large_or_no_text_are_5(cli: Cli, tmp_path: Path) -> None:
    large, binary = tmp_path / "large.yaml", tmp_path / "binary.yaml"
    large.write_text("#" * (4 * 1024 * 1024 + 1))
    binary.write_bytes(b"providers: \xff\n")
    assert cli("import", str(large)).stderr == f"error: {large} is larger than 4 MiB\n"
    assert cli("import", str(binary)).stderr == f"error: {binary} is not text in UTF-8\n"
    assert cli("import", str(tmp_path / "missing.yaml")).returncode == 2


def test_other_imports_are_subcommands(cli: Cli, tmp_path: Path) -> None:
    assert "admin_settings.json" in cli("import", "admin-settings", "--help").stdout
    assert cli("import", str(tmp_path), "more").returncode == 2


def test_an_empty_document_is_told_from_none(cli: Cli) -> None:
    cli.create("hollow", model_capabilities={})
    assert cli("import", "-", stdin=cli("export").stdout).stdout.startswith("nothing to do: ")
    cli("delete", "hollow", "--yes")
