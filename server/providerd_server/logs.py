"""Structured logs: one event a line on standard error, JSON for machines or colours for people."""

from __future__ import annotations

import importlib
import logging
import os
import sys
from typing import Any, Literal

import structlog


def configure(level: str, log_format: Literal["auto", "console", "json"]) -> None:
    """Sets up logging for the process, the libraries' loggers included."""
    console = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        _drop_internals,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # Tracebacks without local variables: those may hold a key.
    renderer: list[Any] = (
        [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if console
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[*shared, *renderer],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("grpc._cython.cygrpc").addFilter(_tells_no_header)
    _silence_core()


def _drop_internals(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    for name in ("began", "level_of_end"):
        event.pop(name, None)
    return event


def _silence_core() -> None:
    """Keeps the core of gRPC, which writes past all this, from quoting peers in the log, line breaks and all.

    Whoever sets GRPC_VERBOSITY has the say: https://github.com/grpc/grpc/blob/master/doc/environment_variables.md
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    # Newer versions have read it already, when they were imported, and can be told to read it again.
    reset = getattr(importlib.import_module("grpc._cython.cygrpc"), "reset_grpc_config_vars", None)
    if reset is not None:
        reset()


def _tells_no_header(record: logging.LogRecord) -> bool:
    """Whether a record is free of metadata: gRPC logs, in full, each value that is not UTF-8, be it a token or not.

    Source: https://github.com/grpc/grpc/blob/master/src/python/grpcio/grpc/_cython/_cygrpc/grpc_string.pyx.pxi
    """
    return not str(record.msg).startswith("Invalid encoding")
