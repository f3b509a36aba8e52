"""The generated pages say what their sources say: all of it, and nothing else."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from scripts.reference import __main__ as generator
from scripts.reference import refusals, settings
from scripts.reference.errors import ADVICE

from providerd.v1 import provider_pb2 as pb
from providerd_server.described import describe
from providerd_server.errors import Kind
from providerd_server.settings import Settings
from tests.cli import providerd
from tests.docs_runner import ROOT

REFERENCE = ROOT / "docs/reference"
SERVER = ROOT / "server/providerd_server"
# The forms that a reason is written in, found without the generator's help.
REASON = re.compile(
    r'(?:Refusal\(\s*|\()Kind\.[A-Z_]+,\s*"([A-Z_]+)"|_(?:out_of_range|unauthenticated|too_many)\(\s*"([A-Z_]+)"'
)


def headings(page: str) -> set[str]:
    return set(re.findall(r"^#{2,3} (.*)$", (REFERENCE / page).read_text(), re.MULTILINE))


def test_the_pages_are_what_their_sources_make_of_them() -> None:
    done = subprocess.run([ROOT / "scripts/docs", "--check"], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr


def test_a_stale_page_is_found_shown_and_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generator, "REFERENCE", tmp_path)
    monkeypatch.setattr(generator, "PAGES", {"settings.md": settings.page})
    old = (REFERENCE / "settings.md").read_text().replace("PROVIDERD_POOL_SIZE", "PROVIDERD_POOL")
    (tmp_path / "settings.md").write_text(old)

    monkeypatch.setattr(sys, "argv", ["docs", "--check"])
    assert generator.main() == 1
    said = capsys.readouterr().err
    assert "+| `PROVIDERD_POOL_SIZE`" in said
    assert said.endswith("settings.md: run make docs\n")
    assert (tmp_path / "settings.md").read_text() == old

    monkeypatch.setattr(sys, "argv", ["docs"])
    assert generator.main() == 0
    assert (tmp_path / "settings.md").read_text() == (REFERENCE / "settings.md").read_text()


def test_each_reason_in_the_code_is_documented_and_each_documented_one_is_in_the_code() -> None:
    in_code = {
        first or second
        for path in SERVER.rglob("*.py")
        if path.parent.name != "admin_settings"
        for first, second in REASON.findall(path.read_text())
    }
    assert len(in_code) > 20
    assert {each for each in headings("errors.md") if each.isupper()} == in_code


def test_each_sqlstate_of_the_schema_is_documented() -> None:
    raised = {
        state for path in (ROOT / "migrations").glob("*.sql") for state in re.findall(r"'(PD\d{3})'", path.read_text())
    }
    documented = re.findall(r"^\| `(PD\d{3})` \|", (REFERENCE / "errors.md").read_text(), re.MULTILINE)
    assert set(documented) == raised
    assert len(documented) == len(raised) > 5


def test_each_kind_of_refusal_comes_with_advice() -> None:
    assert set(ADVICE) == set(Kind)


@pytest.mark.parametrize(
    "code",
    [
        'raise Refusal(Kind.NOT_FOUND, REASONS["x"], "gone; look elsewhere")',
        'raise Refusal(pick(), "GONE", "gone; look elsewhere")',
        'raise Refusal(Kind.NOT_FOUND, "GONE", "gone; look elsewhere", metadata=found)',
    ],
)
def test_a_refusal_that_cannot_be_documented_is_an_error(tmp_path: Path, code: str) -> None:
    (tmp_path / "module.py").write_text(f"def refuse():\n    {code}\n")
    with pytest.raises(refusals.UnreadableError, match=r"module\.py:2: write "):
        refusals.sites(tmp_path)


def test_a_refusal_is_read_with_what_callers_of_its_function_pass(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(
        "def _gone(reason, what, name):\n"
        '    return Refusal(Kind.NOT_FOUND, reason, f"{what} is gone: {name!r}; look", metadata={"name": name})\n'
        'first, second = _gone("ONE", "one", n), _gone("TWO", f"two of {n}", n)\n'
    )
    assert refusals.sites(tmp_path) == [
        refusals.Site("NOT_FOUND", "ONE", "one is gone: {name}; look", ("name",), "module.py"),
        refusals.Site("NOT_FOUND", "TWO", "two of {n} is gone: {name}; look", ("name",), "module.py"),
    ]


def test_each_rpc_is_documented_with_each_field() -> None:
    sections = (REFERENCE / "api.md").read_text().split("\n### ")
    by_name = {section.partition("\n")[0]: section for section in sections}
    for method in pb.DESCRIPTOR.services_by_name["ProviderService"].methods:
        for message in (method.input_type, method.output_type):
            assert f"`{message.name}`" in by_name[method.name]
            for field in message.fields:
                assert f"| `{field.name}` |" in by_name[method.name]
    for name in pb.Provider.DESCRIPTOR.fields_by_name:
        assert f"| `{name}` |" in by_name["Provider"]


def test_each_setting_is_documented() -> None:
    page = (REFERENCE / "settings.md").read_text()
    names = {each.name for each in describe(Settings.model_construct())}
    assert set(re.findall(r"^\| `([A-Z_]+)` \|", page, re.MULTILINE)) == names


def test_each_command_is_documented() -> None:
    commands = providerd("--help").stdout.partition("Commands:\n")[2].partition("\n\n")[0]
    names = set(re.findall(r"^  ([a-z][\w.-]*)", commands, re.MULTILINE))
    assert {"get", "serve", "switch"} <= names
    assert {f"providerd {name}" for name in names} <= headings("commands.md")


def test_each_table_function_and_trigger_of_the_migrations_is_documented() -> None:
    sql = "\n".join(path.read_text() for path in sorted((ROOT / "migrations").glob("0*.sql")))
    created = re.findall(r"^CREATE (?:OR REPLACE )?(?:TABLE|FUNCTION)(?: IF NOT EXISTS)? (\w+)", sql, re.MULTILINE)
    assert {"llm_provider_configs", "switch_active_provider"} <= set(created) <= headings("schema.md")
    page = (REFERENCE / "schema.md").read_text()
    for trigger in re.findall(r"^CREATE OR REPLACE TRIGGER (\w+)", sql, re.MULTILINE):
        assert f"| `{trigger}` | ALWAYS |" in page
