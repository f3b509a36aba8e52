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

PAGES = sorted((ROOT / "docs/how-to").glob("deploy-*.md"))

FILES = sorted(each for each in DEPLOY.rglob("*") if each.is_file() and "/secrets/" not in str(each))

# Run here, in a container, or as another account; without what the shell does with it.
_COMMAND = re.compile(
    r"^(?:docker compose exec (?:--no-TTY )?providerd |docker compose run .*? |sudo .*?/bin/|kubectl .* -- )?"
    r"providerd +([a-z].*?)(?: <.*)?$",
    re.MULTILINE,
)


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
    """Every command line that the image or a unit runs, or a page says, and where it is from."""
    entrypoint = instruction("ENTRYPOINT")
    yield "Dockerfile", [*entrypoint, *instruction("CMD")]
    yield "Dockerfile: HEALTHCHECK", instruction("HEALTHCHECK")
    for name, service in services().items():
        if service["image"].startswith("providerd"):
            yield f"compose: {name}", [*entrypoint, *service["command"]]
    yield from _of_containers(entrypoint)
    for path in UNITS:
        [line] = re.findall(r"^ExecStart=(.*)$", path.read_text(), re.MULTILINE)
        program, *arguments = shlex.split(line)
        yield path.name, [Path(program).name, *arguments]
    for page in PAGES:
        for line in _COMMAND.findall(page.read_text().replace("\\\n", "")):
            yield page.name, ["providerd", *shlex.split(line)]


def _of_containers(entrypoint: list[str]) -> Iterator[tuple[str, list[str]]]:
    for name, pod in pods():
        for container in containers(pod):
            if container["image"] != "providerd":
                continue
            where = f"{name}: {container['name']}"
            yield where, container.get("command") or [*entrypoint, *container["args"]]
            for probe in sorted(container.keys() & {"startupProbe", "livenessProbe", "readinessProbe"}):
                yield f"{where}: {probe}", container[probe]["exec"]["command"]
