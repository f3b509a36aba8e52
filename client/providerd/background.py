"""One background thread with one event loop."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

P = ParamSpec("P")
T = TypeVar("T")


class Background:
    """Runs coroutines for other threads. The thread starts with the first one."""

    def __init__(self) -> None:
        # Held while submitting, so that nothing is submitted to a loop that no longer runs: it would wait for ever.
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopped = False
        self._loop: asyncio.AbstractEventLoop
        self._stopping: asyncio.Event

    def run(self, call: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs a coroutine function in the background thread and returns what it returns.

        Raises:
            RuntimeError: The caller is the background thread, which would wait for itself.
            concurrent.futures.CancelledError: The thread was stopped, before or meanwhile.
        """
        if threading.current_thread() is self._thread:
            raise RuntimeError("a callback must not block: call this from another thread")
        with self._lock:
            future = self._submit(call, *args, **kwargs)
        try:
            return future.result()
        finally:
            # Ctrl-C must not leave behind a call that nobody waits for; a finished one is not touched.
            future.cancel()

    def stop(self) -> None:
        """Cancels what still runs and ends the thread."""
        thread = self._thread
        if thread is not None and not thread.is_alive():
            return  # stopped before; or this is a forked child, which has no such thread, and maybe a stuck lock
        with self._lock:
            self._stopped, thread = True, self._thread
            if thread is not None and thread.is_alive():
                self._loop.call_soon_threadsafe(self._stopping.set)
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _submit(self, call: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        if self._stopped:
            raise CancelledError
        if self._thread is None:
            ready = threading.Event()
            self._thread = threading.Thread(
                target=lambda: asyncio.run(self._serve(ready)), name="providerd", daemon=True
            )
            self._thread.start()
            ready.wait()
        return asyncio.run_coroutine_threadsafe(call(*args, **kwargs), self._loop)

    async def _serve(self, ready: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(_report)
        self._stopping = asyncio.Event()
        ready.set()
        await self._stopping.wait()


def _report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    if not _is_noise(context.get("exception"), loop):
        loop.default_exception_handler(context)


def _is_noise(error: BaseException | None, loop: asyncio.AbstractEventLoop) -> bool:
    """Says whether an error is one of two that gRPC makes where several loops use it, harmless and loud.

    All wake for each event, and the later one finds nothing: https://github.com/grpc/grpc/issues/25364. And an event of
    a loop that has ended meanwhile cannot be handed to it, nor does anybody wait for it there.
    """
    if isinstance(error, RuntimeError):
        return str(error) == "Event loop is closed" and not loop.is_closed()
    return isinstance(error, BlockingIOError)
