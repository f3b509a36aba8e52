"""Where a provider's requests go, and with them its key: the same as the schema's ``provider_destinations``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

_PORTS = {"http": "80", "https": "443"}

# RFC 3986, 3.2 and 3.3, without user information, query and fragment.
_URL = re.compile(
    r"(https?)://([a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?|\[[0-9a-f:.]+\])"
    r"(?::([1-9][0-9]{0,4}))?(?:/[a-z0-9._~!$&'()*+,;=:%/-]*)?",
    re.IGNORECASE | re.ASCII,
)
# RFC 3986, 4.2, and https://url.spec.whatwg.org/#relative-slash-state: "//" and "/\" begin another host.
_PATH = re.compile(r"/(?![/\\])[!-~]*")


# Every read of a row asks, and answers with one of few.
@lru_cache(maxsize=1024)
def destination(base_url: str, endpoint_path_template: str) -> str:
    """Scheme, host and port that a request goes to, such as ``https://api.example.com:443``.

    What is not plainly a URL with a path is returned whole, so that any change of it counts as another destination; the
    blank keeps that from ever equalling a plain one.
    """
    url = _URL.fullmatch(base_url)
    if url is None or _PATH.fullmatch(endpoint_path_template) is None:
        return f"{base_url} {endpoint_path_template}"
    scheme, host, port = url[1].lower(), url[2].lower(), url[3]
    return f"{scheme}://{host}:{port or _PORTS[scheme]}"


def destinations(base_url: str, endpoint_path_template: str, request_builder_config: Any) -> str:
    """Where all requests of a provider go, streamed ones included: one destination, unless something is odd."""
    stream = _member(request_builder_config, "stream")
    streamed = _member(stream, "endpoint_path_template")
    templates = {endpoint_path_template}
    if streamed is not None:
        templates.add(streamed if isinstance(streamed, str) else json.dumps(streamed, sort_keys=True))
    return " ".join(sorted({destination(base_url, template) for template in templates}))


def _member(document: Any, name: str) -> Any:
    return document.get(name) if isinstance(document, Mapping) else None
