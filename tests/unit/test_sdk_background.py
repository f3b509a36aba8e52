"""The thread behind the blocking client."""

import asyncio
import logging
import threading
from concurrent.futures import CancelledError
from typing import Never

import pytest

from providerd.background import Background


async def current_thread() -> threading.Thread:
    return threading.current_thread()


def test_everything_runs_in_one_thread_that_ends() -> None:
    background = Background()
    thread = background.run(current_thread)
    assert background.run(current_thread) is thread is not threading.current_thread()
    background.stop()
    assert not thread.is_alive()
    background.stop()
    with pytest.raises(CancelledError):
        background.run(current_thread)


def test_one_that_never_ran_can_be_stopped() -> None:
    background = Background()
    background.stop()
    with pytest.raises(CancelledError):
        background.run(current_thread)


def test_only_harmless_noise_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    def fail(error: Exception) -> Never:
        raise error

    async def make_noise() -> None:
        loop = asyncio.get_running_loop()
        loop.call_soon(fail, BlockingIOError("of gRPC"))
        loop.call_soon(ended.call_soon_threadsafe, print)  # as gRPC does with an event of a loop that has ended
        loop.call_soon(fail, ValueError("of a bug"))
        done = asyncio.Event()
        loop.call_soon(done.set)
        await done.wait()

    ended = asyncio.new_event_loop()
    ended.close()
    background = Background()
    with caplog.at_level(logging.ERROR):
        background.run(make_noise)
    background.stop()
    assert "of a bug" in caplog.text
    assert "of gRPC" not in caplog.text
    assert "Event loop is closed" not in caplog.text
