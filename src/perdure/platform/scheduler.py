"""Which waiting call goes to the engine next, and how many run at once."""

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from perdure.clock import Clock
from perdure.errors import Busy
from perdure.platform.limits import RETRY_AFTER_S_MAX, WAITING_CALLS_MAX
from perdure.scheduling.facts import Order, Waiting
from perdure.scheduling.order import fcfs
from perdure.scheduling.policies import decide

SERVICE_WEIGHT = 0.2  # of the newest call, in the running mean that `retry-after` is estimated from


@dataclass(slots=True, kw_only=True, eq=False)
class _Call:
    """One call in the queue. Only the scheduler moves it."""

    arrived_s: float
    prompt_tokens: int
    max_output_tokens: int
    granted: asyncio.Future[None]


class Scheduler:
    """The one queue of one engine. At most `slots` calls run; the engine's own queue stays empty.

    `order` decides who goes next, each time a slot falls free. Used by one event loop.
    """

    def __init__(
        self,
        *,
        slots: int,
        clock: Clock,
        order: Order = fcfs,
        waiting_calls_max: int = WAITING_CALLS_MAX,
    ) -> None:
        self.running = 0
        self._inside = 0
        self._slots = slots
        self._clock = clock
        self._order = order
        self._waiting_calls_max = waiting_calls_max
        self._waiting: list[_Call] = []  # in order of arrival, which breaks ties
        self._service_s = 1.0

    @contextmanager
    def place(self) -> Generator[None]:
        """A place for one call, before its prompt is even counted; Busy when the queue is full."""
        if self._inside >= self._slots + self._waiting_calls_max:
            raise Busy(
                f"{self._inside} calls are running or waiting for this model, which is the limit. "
                "Try again after the time in `retry-after`",
                retry_after_s=self._retry_after_s(),
            )
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1

    @asynccontextmanager
    async def turn(self, *, prompt_tokens: int, max_output_tokens: int) -> AsyncGenerator[float]:
        """Wait for the call's turn, then hold a slot; yields the seconds waited."""
        call = _Call(
            arrived_s=self._clock.monotonic_s(),
            prompt_tokens=prompt_tokens,
            max_output_tokens=max_output_tokens,
            granted=asyncio.get_running_loop().create_future(),
        )
        self._waiting.append(call)
        self._dispatch()
        try:
            await call.granted
        except asyncio.CancelledError:
            if not call.granted.cancelled():  # the slot was given in the same instant
                self._free()
            raise
        began_s = self._clock.monotonic_s()
        try:
            yield began_s - call.arrived_s
        finally:
            took_s = self._clock.monotonic_s() - began_s
            self._service_s += SERVICE_WEIGHT * (took_s - self._service_s)
            self._free()

    def _free(self) -> None:
        self.running -= 1
        self._dispatch()

    def _dispatch(self) -> None:
        self._waiting = [call for call in self._waiting if not call.granted.cancelled()]
        while self._waiting and self.running < self._slots:
            now_s = (
                self._clock.monotonic_s()
            )  # one now for all, or ties would go to whoever is looked at last
            chosen = decide("order", self._order, [_facts(call, now_s) for call in self._waiting])
            call = self._waiting.pop(chosen)
            self.running += 1
            call.granted.set_result(None)

    def _retry_after_s(self) -> float:
        return min(RETRY_AFTER_S_MAX, max(1.0, self._service_s * len(self._waiting) / self._slots))


def _facts(call: _Call, now_s: float) -> Waiting:
    """What is known of a waiting call; of what the engine holds and how long answers are, nothing yet."""
    return Waiting(
        waited_s=now_s - call.arrived_s,
        prompt_tokens=call.prompt_tokens,
        max_output_tokens=call.max_output_tokens,
        uncached_tokens=call.prompt_tokens,
        output_tokens_expected=call.max_output_tokens,
    )
