"""The check of what is installed, against what this release says that it needs."""

from __future__ import annotations

import platform
import re
from importlib import metadata

from providerd._version import __version__
from providerd_server.doctor.examination import Verdict, problem, worst

_SHOWN = ("grpcio", "protobuf", "asyncpg")

_BOUND = re.compile(r"(>=|<)\s*([0-9.]+)")


def versions() -> Verdict:
    """Which versions run, and whether the stubs and the daemon are good with them."""
    found = [verdict for name in _SHOWN if (verdict := _unfit(name, metadata.version(name))) is not None]
    told = [f"{name} {metadata.version(name)}" for name in _SHOWN]
    return worst(found, f"providerd {__version__}, Python {platform.python_version()}, {', '.join(told)}")


def _unfit(name: str, version: str) -> Verdict | None:
    bounds = [bound for each in _requirements(name) for bound in _BOUND.findall(each)]
    if all(_holds(version, *bound) for bound in bounds):
        return None
    wanted = ",".join(f"{sign}{bound}" for sign, bound in bounds)
    return problem(f"{name} {version} is not {wanted}", f"pip install '{name}{wanted}'")


def _requirements(name: str) -> list[str]:
    """What this release says of a package, without the markers of its extras."""
    required = (each.partition(";")[0] for each in metadata.requires("providerd") or ())
    return [each for each in required if re.match(rf"{name}(?![\w-])", each)]


def _holds(version: str, sign: str, bound: str) -> bool:
    here, there = _numbers(version), _numbers(bound)
    return here >= there if sign == ">=" else here < there


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(each) for each in re.findall(r"\d+", version)[:3])
