"""The one type that secrets live in: API keys, tokens, passphrases and database URLs."""

from __future__ import annotations

import hmac
from typing import Never, Self

_MASK = "********"


class Secret:
    """A text that only ``reveal`` shows. Its repr, str and format are a mask; pickle and JSON refuse it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Returns the text in clear."""
        return self._value

    def __repr__(self) -> str:
        return f"{type(self).__name__}({_MASK!r})"

    def __str__(self) -> str:
        return _MASK

    def __format__(self, _: str) -> str:
        return _MASK

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        # Bytes, because compare_digest takes no text beyond ASCII; lone surrogates come from undecodable environments.
        return isinstance(other, Secret) and hmac.compare_digest(_bytes(self._value), _bytes(other._value))

    def __hash__(self) -> int:
        return hash(self._value)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _: object) -> Self:
        return self

    def __getstate__(self) -> Never:
        raise TypeError("a secret cannot be pickled: ask for it where it is needed")

    def __reduce_ex__(self, protocol: object) -> Never:
        raise TypeError("a secret cannot be pickled: ask for it where it is needed")


def _bytes(value: str) -> bytes:
    return value.encode("utf-8", "surrogatepass")
