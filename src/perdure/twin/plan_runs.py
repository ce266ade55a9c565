"""Simulations under way, as many at once as there are cores; the compiled kernel needs no interpreter."""

from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from threading import Event
from types import TracebackType
from typing import Generic, TypeVar

Result = TypeVar("Result")
Key = tuple[int, int]  # which candidate, and which of its runs


class Runs(Generic[Result]):
    """What was begun and has not been handed out. Leaving the `with` gives up all that still runs."""

    def __init__(self, cores: int) -> None:
        self.stop = Event()
        self._workers = ThreadPoolExecutor(cores)
        self._running: dict[Future[Result], Key] = {}

    def __enter__(self) -> "Runs[Result]":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop.set()
        self._workers.shutdown(wait=True, cancel_futures=True)

    def start(self, key: Key, function: Callable[[], Result]) -> None:
        """Run `function` as soon as a core is free."""
        self._running[self._workers.submit(function)] = key

    def ended(self, *, all_of_them: bool) -> Iterator[tuple[Key, Result]]:
        """Those that have ended; `all_of_them`: as they end, until none runs any more."""
        while self._running:
            timeout_s = None if all_of_them else 0.0
            done, _ = wait(self._running, timeout=timeout_s, return_when=FIRST_COMPLETED)
            if not done:
                return
            for job in done:
                yield self._running.pop(job), job.result()
