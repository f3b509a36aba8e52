"""Looks everything that the lock files pin up among the known vulnerabilities; needs a network.

It says that nothing is known only when every pinned version was looked up. pip-audit by itself skips what the package
index tells nothing of, and ends with 0 all the same.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

LOCKS = ("requirements.lock", "requirements-dev.lock", "requirements-tools.lock")

ALL_CLEAR, VULNERABLE, NOT_DONE = 0, 1, 2

Pin = tuple[str, str]


def main() -> int:
    """Runs the program in the root of the repository; returns its exit code."""
    pins = pinned(Path(name).read_text(encoding="utf-8") for name in LOCKS)
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as list_:
        # Without their markers: what is for other platforms is looked up as well.
        list_.writelines(f"{name}=={version}\n" for name, version in sorted(pins))
        list_.flush()
        done = subprocess.run(  # noqa: S603 - the pinned pip-audit on a list of our own
            [
                ".venv/tools/bin/pip-audit", "--requirement", list_.name, "--no-deps", "--disable-pip",
                "--format=json", "--progress-spinner=off",
            ],
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip
    try:
        report = json.loads(done.stdout)
    except ValueError:
        why = (done.stderr.strip().splitlines() or ["pip-audit said nothing"])[-1]
        code, said = NOT_DONE, [f"not audited, for this needs a network: {why[:300]}"]
    else:
        code, said = judge(pins, report)
    sys.stderr.writelines(f"{line}\n" for line in said)
    return code


def pinned(locks: Iterable[str]) -> set[Pin]:
    """Names and versions in the texts of lock files."""
    return {
        (found[1], found[2]) for text in locks for found in re.finditer(r"^([a-z0-9-]+)==(\S+)", text, re.MULTILINE)
    }


def judge(pins: set[Pin], report: Mapping[str, Any]) -> tuple[int, list[str]]:
    """The exit code, and what to tell, of a report of pip-audit as JSON."""
    audited = [each for each in report["dependencies"] if "vulns" in each]
    missing = sorted(pins - {(each["name"], each["version"]) for each in audited})
    found = [
        f"{each['name']} {each['version']}: {vulnerability['id']}"
        f", fixed in {', '.join(vulnerability['fix_versions']) or 'no release yet'}"
        for each in audited
        for vulnerability in each["vulns"]
    ]
    if missing:
        names = ", ".join(name for name, _ in missing[:5]) + (", ..." if len(missing) > 5 else "")
        found.append(f"not audited: {len(missing)} of {len(pins)} pinned packages could not be looked up: {names}")
        return NOT_DONE, found
    if found:
        return VULNERABLE, found
    return ALL_CLEAR, [f"nothing is known against the {len(pins)} pinned packages"]


if __name__ == "__main__":
    sys.exit(main())
