"""How a test waits for what happens in another process."""

from collections.abc import Awaitable, Callable

import anyio

WAIT_S = 60.0


async def eventually(is_so: Callable[[], bool]) -> None:
    """Return once `is_so`; a minute is so long that only a broken program takes it."""
    with anyio.fail_after(WAIT_S):
        while not is_so():  # noqa: ASYNC110  # no event of ours tells of it
            await anyio.sleep(0.01)


async def eventually_async(is_so: Callable[[], Awaitable[bool]]) -> None:
    """The same, of what has to be asked for."""
    with anyio.fail_after(WAIT_S):
        while not await is_so():  # noqa: ASYNC110
            await anyio.sleep(0.01)
