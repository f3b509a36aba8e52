"""A wall clock that jumps an hour forth and back every second, for processes that are started with it."""

import shutil
import subprocess
from pathlib import Path

import pytest

HOUR = 3600

# The system calls themselves tell the truth: https://man7.org/linux/man-pages/man2/clock_gettime.2.html
_SOURCE = """
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long jump(void) {
    struct timespec since_boot;
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &since_boot);
    return (since_boot.tv_sec % 3 - 1) * 3600;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, clock, now);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += jump();
    return failed;
}

int gettimeofday(struct timeval *now, void *zone) {
    struct timespec precise;
    int failed = clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return failed;
}

time_t time(time_t *now) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    if (now) *now = precise.tv_sec;
    return precise.tv_sec;
}
"""


def jumping_clock(directory: Path) -> dict[str, str]:
    """The environment that gives a process such a clock; skips the test where there is no C compiler to make it."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("a clock that jumps takes a C compiler")
    library = directory / "clock.so"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-x", "c", "-", "-o", library], input=_SOURCE, text=True, check=True
    )
    return {"LD_PRELOAD": str(library)}
