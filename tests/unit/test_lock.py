"""What the Makefile installs is pinned, whole, and what pyproject.toml asks for."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from scripts.audit import ALL_CLEAR, LOCKS, NOT_DONE, VULNERABLE, judge, pinned

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

RUN, DEV, TOOLS = LOCKS
EXTRAS = {RUN: ("server", "embedded", "otel"), DEV: ("server", "embedded", "otel", "dev")}

# The corners of what pyproject.toml claims.
ENVIRONMENTS = [
    {"python_version": version, "python_full_version": f"{version}.1", "sys_platform": platform, "os_name": "posix",
     "platform_python_implementation": "CPython", "implementation_name": "cpython"}
    for version in ("3.11", "3.13") for platform in ("linux", "darwin")
]  # fmt: skip


def text_of(lock: str) -> str:
    return (ROOT / lock).read_text()


def locked(lock: str) -> dict[str, Requirement]:
    lines = re.sub(r" \\\n +--hash=sha256:[0-9a-f]{64}", "", text_of(lock)).splitlines()
    requirements = [Requirement(line) for line in lines if not line.startswith("#")]
    by_name: dict[str, Requirement] = {canonicalize_name(each.name): each for each in requirements}
    assert len(by_name) == len(requirements)
    return by_name


def wanted(*extras: str) -> Iterator[Requirement]:
    """What pyproject.toml asks for, with the extras that its extras name."""
    optional = PROJECT["project"]["optional-dependencies"]
    for text in [*PROJECT["project"]["dependencies"], *(text for extra in extras for text in optional[extra])]:
        requirement = Requirement(text)
        if requirement.name == PROJECT["project"]["name"]:
            yield from wanted(*requirement.extras)
        else:
            yield requirement


def unsatisfied(requirements: list[Requirement], lock: dict[str, Requirement]) -> list[str]:
    """Those of the requirements that a lock does not pin to a version they allow, somewhere they are needed."""
    return [
        str(requirement)
        for requirement in requirements
        for environment in ENVIRONMENTS
        if applies(requirement, environment) and not pins(lock, requirement, environment)
    ]


def pins(lock: dict[str, Requirement], requirement: Requirement, environment: dict[str, str]) -> bool:
    pin = lock.get(canonicalize_name(requirement.name))
    if pin is None or not applies(pin, environment):
        return False
    (version,) = pin.specifier
    return version.operator == "==" and requirement.specifier.contains(version.version)


def applies(requirement: Requirement, environment: dict[str, str]) -> bool:
    return requirement.marker is None or requirement.marker.evaluate(environment)


@pytest.mark.parametrize("lock", EXTRAS)
def test_a_lock_pins_what_the_project_asks_for_and_what_builds_it(lock: str) -> None:
    requirements = [*wanted(*EXTRAS[lock]), *map(Requirement, PROJECT["build-system"]["requires"])]
    assert len(requirements) > 10
    assert unsatisfied(requirements, locked(lock)) == [], "run make lock"


def test_what_a_lock_lacks_is_noticed() -> None:
    lock = {"here": Requirement("here==1.5"), "linux": Requirement("linux==1; sys_platform == 'linux'")}
    assert unsatisfied([Requirement("Here>=1,<2")], lock) == []
    for text in ("gone", "here>=2", "linux"):
        assert unsatisfied([Requirement(text)], lock)


@pytest.mark.parametrize("lock", LOCKS)
def test_every_line_is_a_version_with_hashes_and_no_index(lock: str) -> None:
    entry = r"[a-z0-9-]+==[0-9][0-9a-z.]*( ; [^\\\n]+)?( \\\n +--hash=sha256:[0-9a-f]{64})+\n"
    assert re.fullmatch(rf"(#.*\n)*({entry})+", text_of(lock))


def test_what_is_tested_is_what_runs() -> None:
    run, dev, tools = (locked(lock) for lock in LOCKS)
    assert run.keys() <= dev.keys()
    shared = [(lock[name], dev[name]) for lock in (run, tools) for name in lock.keys() & dev.keys()]
    assert [pair for pair in shared if pair[0].specifier != pair[1].specifier] == []


def test_the_audit_looks_up_every_pin() -> None:
    pins = pinned(map(text_of, LOCKS))
    assert {name for name, _ in pins} == locked(DEV).keys() | locked(TOOLS).keys()


@pytest.mark.parametrize(
    ("answers", "code", "said"),
    [
        ([{"name": "a", "version": "1", "vulns": []}, {"name": "b", "version": "2", "vulns": []}], ALL_CLEAR, "the 2"),
        ([{"name": "a", "version": "1", "vulns": []}], NOT_DONE, "1 of 2 .* looked up: b"),
        ([{"name": "a", "skip_reason": "unknown"}, {"name": "b", "skip_reason": "unknown"}], NOT_DONE, "2 of 2"),
        ([], NOT_DONE, "2 of 2"),
        (
            [
                {"name": "a", "version": "1", "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.1"]}]},
                {"name": "b", "version": "2", "vulns": []},
            ],
            VULNERABLE,
            r"a 1: PYSEC-1, fixed in 1\.1",
        ),
        ([{"name": "a", "version": "1", "vulns": [{"id": "PYSEC-1", "fix_versions": []}]}], NOT_DONE, "no release yet"),
    ],
)
def test_only_an_audit_of_everything_is_an_all_clear(answers: list[dict[str, object]], code: int, said: str) -> None:
    judged, lines = judge({("a", "1"), ("b", "2")}, {"dependencies": answers})
    assert judged == code
    assert re.search(said, "\n".join(lines))
