"""Pages of a list, as https://google.aip.dev/158 has them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

from google.protobuf.message import Message

from providerd_server.errors import Violation, invalid

_DEFAULT_PAGE, _LARGEST_PAGE = 100, 1000

# gRPC clients take 4 MiB unless told otherwise.
_LARGEST_ANSWER = 2 << 20


def page_size(asked: int) -> int:
    """How many items a page holds for the ``page_size`` of a request."""
    if asked < 0:
        raise invalid([Violation("page_size", "must not be negative")])
    return min(asked or _DEFAULT_PAGE, _LARGEST_PAGE)


def fitting(messages: Sequence[Message]) -> int:
    """How many of the first messages fit into an answer that every client takes; at least one of any."""
    size = 0
    for count, message in enumerate(messages):
        size += message.ByteSize()
        if size > _LARGEST_ANSWER and count > 0:
            return count
    return len(messages)


def make_token(last: str) -> str:
    """The token of the page after the item with this key."""
    return base64.urlsafe_b64encode(last.encode()).decode()


def read_token(token: str) -> str:
    """The key in a ``page_token``."""
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise wrong_token() from None


def wrong_token() -> Exception:
    """The refusal of a token that no page gave."""
    return invalid([Violation("page_token", "must be the next_page_token of an earlier page")])
