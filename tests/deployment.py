"""The files of ``deploy/`` as data: what they run, and with which settings."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.docs_runner import ROOT

DEPLOY = ROOT / "deploy"
DOCKERFILE = DEPLOY / "docker/Dockerfile"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
COMPOSE = DEPLOY / "compose/compose.yaml"
COMPOSE_FILES = sorted((DEPLOY / "compose").glob("*.yaml"))
KUSTOMIZATIONS = sorted(each.parent for each in (DEPLOY / "kubernetes").glob("*/kustomization.yaml"))

FILES = sorted(each for each in DEPLOY.rglob("*") if each.is_file() and "/secrets/" not in str(each))


def instruction(name: str) -> list[str]:
    """The arguments of the last instruction of this name of the Dockerfile, where they are a JSON array."""
    text = DOCKERFILE.read_text().replace("\\\n", "")
    found: list[str] = json.loads(re.findall(rf"^{name}.*?(\[.*\])$", text, re.MULTILINE)[-1])
    return found


def services(path: Path = COMPOSE) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(path.read_text())["services"]
    return found


def resources() -> Iterator[dict[str, Any]]:
    """All Kubernetes resources, as they are written."""
    for directory in KUSTOMIZATIONS:
        for name in yaml.safe_load((directory / "kustomization.yaml").read_text())["resources"]:
            yield from yaml.safe_load_all((directory / name).read_text())


def resource(kind: str, name: str) -> dict[str, Any]:
    [found] = [each for each in resources() if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    """The templates of pods, with the names of what makes them."""
    for each in resources():
        if "template" in each.get("spec", {}):
            yield each["metadata"]["name"], each["spec"]["template"]


def containers(pod: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from pod["spec"].get("initContainers", [])
    yield from pod["spec"]["containers"]


def commands() -> Iterator[tuple[str, list[str]]]:
    """Every command line that the image or a unit runs, and where it is from."""
    entrypoint = instruction("ENTRYPOINT")
    yield "Dockerfile", [*entrypoint, *instruction("CMD")]
    yield "Dockerfile: HEALTHCHECK", instruction("HEALTHCHECK")
    for path in COMPOSE_FILES:
        for name, service in services(path).items():
            if service.get("image", "").startswith("providerd") and "command" in service:
                yield f"{path.name}: {name}", [*entrypoint, *service["command"]]
    for name, pod in pods():
        for container in containers(pod):
            if container["image"] == "providerd":
                where = f"{name}: {container['name']}"
                yield where, container.get("command") or [*entrypoint, *container["args"]]
                for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                    if probe in container:
                        yield f"{where}: {probe}", container[probe]["exec"]["command"]
    for path in UNITS:
        [line] = re.findall(r"^ExecStart=(.*)$", path.read_text(), re.MULTILINE)
        program, *arguments = shlex.split(line)
        yield path.name, [Path(program).name, *arguments]
