"""A value made of files that may be replaced while it is in use."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from providerd.files import Files
    from providerd.secret import Secret

T = TypeVar("T")

_log = logging.getLogger("providerd")


class Renewable(Generic[T]):
    """Makes a value of the contents of files, and makes it anew when they have changed.

    While the files are broken the last good value stays, and one warning says why.

    Attributes:
        value: The value of the last good contents.
    """

    def __init__(self, files: Files, make: Callable[[Mapping[str, Secret]], T]) -> None:
        """Reads the files, and makes the value with a function that raises ValueError when they are no good.

        Raises:
            ValueError: They are no good.
        """
        self._files = files
        self._make = make
        self._problem = ""
        self._state = files.state()
        self._tried: Mapping[str, Secret] | None = files.read()
        self.value = make(self._tried)

    def refresh(self) -> bool:
        """Reads the files again and says whether there is a new value. Never raises."""
        state = self._files.state()
        if state is not None and state == self._state:
            return False
        self._state = state
        try:
            contents = self._files.read()
            if contents == self._tried:
                return False
            self._tried = contents
            self.value = self._make(contents)
        except ValueError as problem:
            self._warn(str(problem))
            return False
        self._problem = ""
        return True

    def _warn(self, problem: str) -> None:
        if problem != self._problem:
            self._problem = problem
            _log.warning("%s; what was in use stays in use", problem)
