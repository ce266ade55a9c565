"""What time it is, and how to wait: the only module that reads a clock.

Everything else takes a `Clock`, so that a test can run 35 hours in a second.
"""

import time
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Protocol, cast


class Clock(Protocol):
    """Where time comes from.

    `now_s` is the wall clock in seconds since 1970 (UTC): for records that people read.
    `monotonic_s` never goes backwards: for durations and deadlines.
    `sleep` returns once `monotonic_s` has advanced by at least `seconds`.
    """

    def now_s(self) -> float: ...

    def monotonic_s(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The machine's own clock."""

    def now_s(self) -> float:
        return time.time()

    def monotonic_s(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await _sleep(seconds)


class VirtualClock:
    """A clock that moves only when told, or when somebody sleeps on it."""

    def __init__(self, start_s: float = 0.0) -> None:
        self._now_s = start_s

    def now_s(self) -> float:
        return self._now_s

    def monotonic_s(self) -> float:
        return self._now_s

    def advance(self, seconds: float) -> None:
        """Move time forward by `seconds`, which must not be negative."""
        assert seconds >= 0, seconds
        self._now_s += seconds

    async def sleep(self, seconds: float) -> None:
        self.advance(max(0.0, seconds))
        await _sleep(0)


async def _sleep(seconds: float) -> None:
    """Whoever sleeps has asyncio loaded; who only reads the clock is spared its forty milliseconds."""
    await cast(Callable[[float], Awaitable[None]], import_module("asyncio").sleep)(seconds)
