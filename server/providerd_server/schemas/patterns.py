"""Shell patterns of model names, as Python's fnmatch has them."""

from __future__ import annotations

import re

# A "]" right after "[" or "[!" is a member of the set: https://docs.python.org/3/library/fnmatch.html. Possessive, so
# that "[]" is not read as an empty set.
_SET = re.compile(r"\[!?+\]?+[^\]]*\]")


def is_shell_pattern(pattern: object) -> bool:
    """Whether every set of a pattern is closed: fnmatch takes the rest literally. What is no string passes."""
    return not isinstance(pattern, str) or "[" not in _SET.sub("", pattern)
