"""switch, upsert, enable and disable against a real daemon, with the exit code of each outcome."""

import getpass
import json
from collections.abc import Iterator

import pytest

from providerd_server.embedded import EmbeddedPostgres
from tests.cli import MINIMAL, Cli, cli_with_daemon
from tests.conftest import Psql


@pytest.fixture(scope="module")
def cli(cluster: EmbeddedPostgres, psql: Psql, template: str) -> Iterator[Cli]:
    with cli_with_daemon(cluster, psql, template) as cli:
        yield cli


def test_switch_changes_what_get_answers(cli: Cli) -> None:
    before = cli.json("get")
    name = cli.create("target")
    done = cli("switch", name)
    after = cli.json("get")
    assert done.returncode == 0
    assert done.stdout == (
        f"switched from {before['provider']['provider_name']} to {name}, model small, "
        f"revision {after['revision']['number']}\n"
    )
    assert after["provider"]["provider_name"] == name


def test_switch_warns_on_stderr_when_there_is_no_key(cli: Cli) -> None:
    done = cli("switch", cli.create("keyless"), "--json")
    assert done.returncode == 0
    (warning,) = json.loads(done.stdout)["warnings"]
    assert warning["reason"] == "PROVIDER_HAS_NO_KEY"
    assert done.stderr == f"warning: {warning['message']} [PROVIDER_HAS_NO_KEY]\n"


def test_switching_to_the_active_provider_does_nothing(cli: Cli) -> None:
    name = cli.create("again")
    cli("switch", name)
    done = cli.json("switch", name)
    assert done["switched"] is False
    assert done["revision"] == cli.json("get")["revision"]
    assert cli("switch", name).stdout == f"{name} is active already, revision {done['revision']['number']}\n"


def test_switch_to_a_disabled_provider_is_4(cli: Cli) -> None:
    name = cli.create("off", is_enabled=False)
    refused = cli("switch", name)
    assert refused.returncode == 4
    assert refused.stdout == ""
    assert len(refused.stderr.splitlines()) == 1
    assert refused.stderr.startswith("error: ")
    assert refused.stderr.endswith("[PROVIDER_DISABLED]\n")


def test_switch_at_an_old_revision_is_6(cli: Cli) -> None:
    old = cli.json("get")["revision"]["number"]
    name = cli.create("late")
    refused = cli("switch", name, "--expected-revision", str(old))
    assert refused.returncode == 6
    assert refused.stderr.endswith("[REVISION_MISMATCH]\n")
    assert cli("switch", name, "--expected-revision", str(old + 1)).returncode == 0


@pytest.mark.parametrize("command", ["show", "switch", "enable", "disable", "set-key"])
def test_an_unknown_provider_is_3(cli: Cli, command: str) -> None:
    missing = cli(command, "nobody", stdin="sk-never-stored\n")
    assert missing.returncode == 3
    assert missing.stdout == ""
    assert len(missing.stderr.splitlines()) == 1
    assert missing.stderr.endswith("[PROVIDER_NOT_FOUND]\n")


def test_reason_and_actor_reach_the_history(cli: Cli) -> None:
    name = cli.create("told")
    history = "SELECT changed_by, reason FROM llm_provider_config_history WHERE provider_name = 'told' ORDER BY id DESC"
    assert cli.sql(history) == f"{getpass.getuser()}|"
    cli("switch", name, "--reason", "the other is slow", "--actor", "night shift")
    assert cli.sql(f"{history} LIMIT 1") == "night shift|the other is slow"


def test_enable_and_disable(cli: Cli) -> None:
    name = cli.create("flag")
    off, off_again = cli.json("disable", name), cli.json("disable", name)
    assert (off["provider"]["is_enabled"], off["changed"], off_again["changed"]) == (False, True, False)
    on = cli("enable", name)
    assert on.stdout.startswith(f"enabled {name}, config version 3, revision ")
    assert cli("enable", name).stdout.startswith(f"enabled already: {name}, config version 3")
    assert cli.json("show", name)["is_enabled"] is True


def test_disabling_the_active_provider_is_4(cli: Cli) -> None:
    name = cli.create("current")
    cli("switch", name)
    refused = cli("disable", name)
    assert refused.returncode == 4
    assert refused.stderr.endswith("[PROVIDER_ACTIVE]\n")


@pytest.mark.parametrize("name", ["groq", "chatgpt", "google_ai", "openrouter"])
def test_what_show_prints_upserts_to_no_change(cli: Cli, name: str) -> None:
    shown = cli("show", name, "--json").stdout
    done = cli.json("upsert", "-f", "-", stdin=shown)
    assert (done["created"], done["changed"]) == (False, False)


def test_what_show_prints_of_the_least_provider_upserts_to_no_change(cli: Cli) -> None:
    name = cli.create("least")
    assert cli.json("upsert", "-f", "-", stdin=cli("show", name, "--json").stdout)["changed"] is False


def test_upsert_takes_a_file_in_camel_case(cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("files") / "camel.json"
    file.write_text(
        json.dumps(
            {
                "providerName": "camel",
                "displayName": "Ünïcode",
                "baseUrl": "https://llm.example",
                "endpointPathTemplate": "/v1",
                "defaultModel": "small",
                "requestBuilderConfig": MINIMAL["request_builder_config"],
                "responseExtractorConfig": MINIMAL["response_extractor_config"],
            },
            ensure_ascii=False,
        ),
        encoding="utf-8",
    )
    assert cli("upsert", "-f", str(file)).stdout.startswith("created camel, config version 1, revision ")
    assert cli.json("show", "camel")["display_name"] == "Ünïcode"


def test_upsert_keeps_what_it_does_not_name_and_clears_what_the_mask_names(cli: Cli) -> None:
    cli.create("masked", description="old", supported_models=["small"])
    change = json.dumps({"provider_name": "masked", "display_name": "New"})
    cli.json("upsert", "-f", "-", stdin=change)
    assert cli.json("show", "masked")["description"] == "old"
    cli.json("upsert", "-f", "-", "--update-mask", "description,supportedModels", stdin=change)
    shown = cli.json("show", "masked")
    assert (shown["display_name"], shown["description"], shown["supported_models"]) == ("New", "", [])


def test_validate_only_changes_nothing(cli: Cli) -> None:
    new = json.dumps({"provider_name": "planned", **MINIMAL})
    assert cli("upsert", "-f", "-", "--validate-only", stdin=new).stdout.startswith("valid: would create planned")
    assert cli.json("upsert", "-f", "-", "--validate-only", stdin=new)["revision"] is None
    assert cli("show", "planned").returncode == 3


def test_upsert_of_an_old_version_is_6(cli: Cli) -> None:
    name = cli.create("versioned")
    change = json.dumps({"provider_name": name, "description": "new"})
    refused = cli("upsert", "-f", "-", "--expected-config-version", "7", stdin=change)
    assert refused.returncode == 6
    assert refused.stderr.endswith("[CONFIG_VERSION_MISMATCH]\n")
    assert cli("upsert", "-f", "-", "--expected-config-version", "1", stdin=change).returncode == 0


def test_an_invalid_provider_is_5_with_a_line_for_each_field(cli: Cli) -> None:
    wrong = {
        "provider_name": "wrong",
        **MINIMAL,
        "base_url": "ftp://x",
        "default_model": "",
        "context_window_tokens": -1,
    }
    refused = cli("upsert", "-f", "-", stdin=json.dumps(wrong))
    assert refused.returncode == 5
    first, *fields = refused.stderr.splitlines()
    assert first.startswith("error: ")
    assert first.endswith("[INVALID_FIELDS]")
    assert sorted(line.partition(":")[0] for line in fields) == [
        "  provider.base_url",
        "  provider.context_window_tokens",
        "  provider.default_model",
    ]


def test_a_number_that_json_would_change_is_5(cli: Cli) -> None:
    wrong = {"provider_name": "groq", "model_capabilities": {"seed": 2**60}}
    refused = cli("upsert", "-f", "-", stdin=json.dumps(wrong))
    assert refused.returncode == 5
    assert "  model_capabilities.seed: " in refused.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [("{", "is not JSON in line 1"), ("[1]", "must hold one JSON object"), ("[" * 100_000, "is not JSON")],
)
def test_a_file_that_holds_no_object_is_5(cli: Cli, text: str, said: str) -> None:
    refused = cli("upsert", "-f", "-", stdin=text)
    assert refused.returncode == 5
    assert len(refused.stderr.splitlines()) == 1
    assert said in refused.stderr


@pytest.mark.parametrize("field", ["api_key", "apiKey", "new_api_key", "newApiKey"])
def test_a_file_with_a_key_is_5_and_nothing_is_sent(cli: Cli, field: str) -> None:
    refused = cli("upsert", "-f", "-", stdin=json.dumps({"provider_name": "groq", field: "sk-in-a-file"}))
    assert refused.returncode == 5
    assert "set-key" in refused.stderr
    assert "sk-in-a-file" not in refused.stderr
