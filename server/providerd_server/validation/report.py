"""How many violations fit into an answer."""

from __future__ import annotations

from collections.abc import Sequence

from providerd_server.errors import Violation

MOST = 100

# gRPC clients refuse, at random from here on, an error whose trailers are larger than this many bytes:
# https://github.com/grpc/grpc/blob/master/include/grpc/impl/channel_arg_names.h (GRPC_ARG_MAX_METADATA_SIZE)
_TRAILERS = 8192
# For what is not a violation of content.
_RESERVED = 1024


def reported(violations: Sequence[Violation]) -> list[Violation]:
    """The first violations, each once, as many as a client can be told; where there are more, the last says so."""
    distinct = list(dict.fromkeys(violations))
    room, count = _TRAILERS - _RESERVED, 0
    for violation in distinct[:MOST]:
        room -= _size(violation)
        if room < 0:
            break
        count += 1
    if count == len(distinct):
        return distinct
    more = len(distinct) - count
    return [*distinct[:count], Violation("provider", f"has {more:,} more violations; mend these first")]


def _size(violation: Violation) -> int:
    # The field is in the message, which is sent twice, in the error's metadata and in its details; 10 are for framing.
    return 4 * len(violation.field.encode()) + len(violation.description.encode()) + 10
