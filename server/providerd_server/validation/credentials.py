"""What would keep a secret in clear: in the row, in its history, in exports, and with everyone who watches."""

from __future__ import annotations

import re

IN_CLEAR = "must not be stored: it would keep a secret in clear; the key goes where auth_header_template says"

_NAME = re.compile(
    r"(?:key|token|secret|password|passwd|credentials?|cookie2?|signature|auth|authorization)$", re.IGNORECASE
)
# What Authorization would hold, by whatever name: RFC 7617, section 2, and RFC 6750, section 2.1.
_VALUE = re.compile(r"\s*(?:basic|bearer)\s", re.IGNORECASE)


def looks_secret(name: str, value: object) -> bool:
    """Whether a header or a parameter of the query, by its name or its value, is there to prove who asks."""
    return _NAME.search(name) is not None or (isinstance(value, str) and _VALUE.match(value) is not None)
