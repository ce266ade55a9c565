"""How the bytes of one answer reach the one client that asked, or the several that joined."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass

from perdure.errors import PerdureError


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Status line and headers, sent before the first byte."""

    status: int
    headers: Mapping[str, str]


class Answer:
    """An answer while it is made. One task writes it; any number of readers follow from its first byte.

    The writer calls `start`, `write` any number of times, then `finish`; or `fail` with an error, which
    every reader gets raised if nothing was started. When the last reader leaves an unfinished answer, its
    task is cancelled. Belongs to one event loop.
    """

    def __init__(self) -> None:
        self.abandoned = False
        self.task: asyncio.Task[None] | None = None
        self._head: Head | None = None
        self._pieces: list[bytes] = []
        self._error: PerdureError | None = None
        self._done = False
        self._readers = 0
        self._changed = asyncio.Event()

    @property
    def started(self) -> bool:
        return self._head is not None

    @property
    def done(self) -> bool:
        return self._done

    @property
    def worth_joining(self) -> bool:
        """Whether one more reader would get an answer out of it."""
        return not self.abandoned and self._error is None

    def start(self, head: Head) -> None:
        assert self._head is None, "an answer starts once"
        self._head = head
        self._wake()

    def write(self, piece: bytes) -> None:
        if piece:
            self._pieces.append(piece)
            self._wake()

    def finish(self) -> None:
        self._done = True
        self._wake()

    def fail(self, error: PerdureError) -> None:
        self._error = error
        self.finish()

    def body(self) -> bytes:
        """Everything written so far."""
        return b"".join(self._pieces)

    async def head(self) -> Head:
        """Wait for the head; raises the error of an answer that failed before it."""
        while self._head is None:
            if self._error is not None:
                raise self._error
            assert not self._done, "an answer that ends has a head or an error"
            await self._changed.wait()
        return self._head

    async def finished(self) -> None:
        """Wait for the last byte; raises the error of an answer that failed."""
        while not self._done:
            await self._changed.wait()
        if self._error is not None:
            raise self._error

    async def pieces(self) -> AsyncGenerator[bytes]:
        """All bytes from the first on; what a slow reader missed comes in one piece."""
        at = 0
        while True:
            if at < len(self._pieces):
                piece = b"".join(self._pieces[at:])
                at = len(self._pieces)
                yield piece
            elif self._done:
                return
            else:
                await self._changed.wait()

    def join(self) -> None:
        """One more reader."""
        self._readers += 1

    def leave(self) -> None:
        """One reader less; without any, an unfinished answer is given up."""
        self._readers -= 1
        if self._readers == 0 and not self._done:
            self.abandoned = True
            if self.task is not None:
                self.task.cancel()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
