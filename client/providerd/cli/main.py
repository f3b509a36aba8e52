"""Where the program starts: nothing here needs more than Python."""

from __future__ import annotations

import sys
from importlib.util import find_spec

_NEEDED = {"click": "click", "rich": "rich", "yaml": "pyyaml"}


def main() -> int:
    """Runs the command that the command line names and returns the exit code of the process."""
    missing = [name for module, name in _NEEDED.items() if find_spec(module) is None]
    if missing:
        sys.stderr.write(f"error: the program needs {', '.join(missing)}: pip install 'providerd[cli]'\n")
        return 2
    from providerd.cli.program import run

    return run()


if __name__ == "__main__":
    sys.exit(main())
