"""How a llama.cpp server is kept alive: watched, and started again when it dies."""

import asyncio
import contextlib
import logging

from perdure.clock import Clock
from perdure.engines.llamacpp_launch import Child, ServerPlan, end_child, ending, launch, log_tail
from perdure.errors import EngineFailed, Unavailable

QUICK_SECONDS = 60.0  # a child that lived shorter than this failed quickly
QUICK_FAILURES_MAX = 4  # so many in a row, and we stop trying
BACKOFF_FIRST_S = 0.5
BACKOFF_S_MAX = 10.0
DEATH_NOTICE_S_MAX = 2.0  # between a broken connection and the end of the process that caused it

_log = logging.getLogger(__name__)


class LlamaProcess:
    """A llama.cpp server that is kept alive from `start` to `close`.

    Only the watcher moves the child: from running to dead to running, or to given up.
    """

    def __init__(self, plan: ServerPlan, clock: Clock) -> None:
        self.restarts = 0
        self._plan = plan
        self._clock = clock
        self._child: Child | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._last_end = "has just ended"
        self._given_up: str | None = None

    @property
    def ready(self) -> bool:
        """Whether a child runs that can answer."""
        return self._child is not None and self._child.process.returncode is None

    @property
    def child(self) -> Child:
        """The child that runs now. Raises Unavailable while it restarts, EngineFailed once given up."""
        if self._child is not None and self.ready:
            return self._child
        if self._given_up is not None:
            raise EngineFailed(self._given_up)
        raise Unavailable(f"the engine {self._last_end}; it is starting again, so ask again in a moment")

    async def start(self) -> None:
        """Start a child and return once it can answer; from then on it is watched."""
        assert self._watcher is None, "started twice"
        self._child = await launch(self._plan, self._clock)
        self._watcher = asyncio.create_task(self._watch(), name="llamacpp-watcher")

    async def close(self) -> None:
        """End the child and wait until it is gone. Safe to call twice."""
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watcher
        child, self._child = self._child, None
        if child is not None:
            await end_child(child)
        self._given_up = "the engine is closed; start another one"

    async def _watch(self) -> None:
        quick_failures = 0
        while self._child is not None:
            started_s = self._clock.monotonic_s()
            child = self._child
            await child.process.wait()
            await self._lost(child)
            lived_s = self._clock.monotonic_s() - started_s
            quick_failures = quick_failures + 1 if lived_s < QUICK_SECONDS else 1
            await self._restart(quick_failures)

    async def _lost(self, child: Child) -> None:
        self._child = None
        self._last_end = ending(child.process)
        _log.error("llama.cpp %s; %s", self._last_end, log_tail(self._plan.log_file))
        await child.http.close()

    async def _restart(self, quick_failures: int) -> None:
        """Try until a child runs or too many have failed in a row."""
        while quick_failures < QUICK_FAILURES_MAX:
            await self._clock.sleep(min(BACKOFF_S_MAX, BACKOFF_FIRST_S * 2 ** (quick_failures - 1)))
            try:
                self._child = await launch(self._plan, self._clock)
            except (EngineFailed, OSError) as failure:  # OSError: no memory or no room for the log
                quick_failures += 1
                self._last_end = "cannot be started again"
                _log.error("%s", failure)
            else:
                self.restarts += 1
                return
        self._given_up = (
            f"the engine failed {quick_failures} times in a row and is given up (it {self._last_end}). "
            "Check the model file (`perdure models verify`) and the free memory, then restart the server. "
            f"{log_tail(self._plan.log_file)}"
        )
        _log.error("%s", self._given_up)


async def how_it_ended(child: Child) -> str | None:
    """How `child` ended, for the message about an answer that broke off; None when it still runs."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DEATH_NOTICE_S_MAX):
            await child.process.wait()
    return None if child.process.returncode is None else ending(child.process)
