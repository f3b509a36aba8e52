"""One background thread with one event loop."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

P = ParamSpec("P")
T = TypeVar("T")


class Background:
    """Runs coroutines for other threads. The thread starts with the first one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop
        self._stopping: asyncio.Event

    def run(self, call: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs a coroutine function in the background thread and returns what it returns.

        Raises:
            RuntimeError: The caller is the background thread, which would wait for itself.
            concurrent.futures.CancelledError: The thread was stopped meanwhile.
        """
        if threading.current_thread() is self._thread:
            raise RuntimeError("a callback must not block: call this from another thread")
        self._start()
        future = asyncio.run_coroutine_threadsafe(call(*args, **kwargs), self._loop)
        try:
            return future.result()
        except BaseException:
            # Ctrl-C must not leave behind a call that nobody waits for.
            future.cancel()
            raise

    def stop(self) -> None:
        """Cancels what still runs and ends the thread; does nothing in a forked child, which has no such thread."""
        thread = self._thread
        if thread is not None and thread.is_alive() and thread is not threading.current_thread():
            self._loop.call_soon_threadsafe(self._stopping.set)
            thread.join()

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                ready = threading.Event()
                self._thread = threading.Thread(
                    target=lambda: asyncio.run(self._serve(ready)), name="providerd", daemon=True
                )
                self._thread.start()
                ready.wait()

    async def _serve(self, ready: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        ready.set()
        await self._stopping.wait()
