"""How the platform listens on a port, and how it leaves: running answers finish, new ones are refused."""

import asyncio
import contextlib
import errno
import logging
import signal
import socket
from collections.abc import AsyncGenerator, Callable, Generator
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from perdure.errors import BadRequest
from perdure.platform.app import app_of
from perdure.platform.limits import DRAIN_S_MAX
from perdure.platform.platform import Platform

logger = logging.getLogger(__name__)

START_TICK_S = 0.01
DRAIN_TICK_S = 0.05
CLOSING_S_MAX = 5  # for connections to close once the answers are out
BACKLOG = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Certificate chain and private key, PEM files."""

    cert: Path
    key: Path


def bind(host: str, port: int) -> socket.socket:
    """A socket at that address, not listening yet; BadRequest when it cannot be had. Port 0: any free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio and uvloop set TCP_NODELAY only on sockets that name it; without
    # it each answer waits 40 ms for a delayed acknowledgement.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except (OSError, OverflowError) as error:
        bound.close()
        raise _cannot_bind(host, port, error) from error
    bound.set_inheritable(False)
    return bound


async def serve(
    platform: Platform, sockets: list[socket.socket], *, on_ready: Callable[[], None], tls: Tls | None = None
) -> None:
    """Answer on `sockets` until SIGTERM or SIGINT, then drain; a second signal ends at once.

    The engines start first: what keeps them from starting is raised before anything listens. `on_ready`
    is called once requests are answered; a signal before that ends the engines and returns.
    """
    with _signals() as told:
        first = asyncio.create_task(told.get(), name="signal")
        async with contextlib.AsyncExitStack() as stack:
            if not await _started(stack, platform, first):
                return
            serving = await stack.enter_async_context(listening(platform, sockets, tls=tls))
            on_ready()
            await asyncio.wait((first, serving), return_when=asyncio.FIRST_COMPLETED)
            await _drain(platform, told)


async def _started(stack: contextlib.AsyncExitStack, platform: Platform, first: asyncio.Task[int]) -> bool:
    """Start the platform, to be stopped by `stack`; False when the first signal came before it was ready."""
    starting = asyncio.create_task(stack.enter_async_context(platform), name="start")
    await asyncio.wait((first, starting), return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await starting
        return False
    await starting
    return not first.done()


@contextlib.asynccontextmanager
async def listening(
    platform: Platform, sockets: list[socket.socket], *, tls: Tls | None = None
) -> AsyncGenerator[asyncio.Task[None]]:
    """Answer on `sockets` while inside. The platform is started already; yields the task that listens."""
    config = uvicorn.Config(
        app_of(platform),
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=CLOSING_S_MAX,
        ssl_certfile=None if tls is None else tls.cert,
        ssl_keyfile=None if tls is None else tls.key,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets), name="server")
    try:
        while not server.started and not serving.done():
            await platform.clock.sleep(START_TICK_S)
        if not serving.done():
            yield serving
    finally:
        server.should_exit = True
        await serving


class _Server(uvicorn.Server):
    """uvicorn stops listening at the first signal; we go on, to refuse politely. So the signals are ours."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


async def _drain(platform: Platform, told: asyncio.Queue[int]) -> None:
    """Refuse what is new and let what runs finish, until the deadline or another signal."""
    platform.draining = True
    deadline_s = platform.clock.monotonic_s() + DRAIN_S_MAX
    if platform.active_requests:
        logger.warning("finishing %d requests, for at most %g s", platform.active_requests, DRAIN_S_MAX)
    while platform.active_requests and told.empty() and platform.clock.monotonic_s() < deadline_s:
        await platform.clock.sleep(DRAIN_TICK_S)
    if platform.active_requests:
        logger.warning("%d requests are cut off; their clients may ask again", platform.active_requests)
        await platform.answers.close()


@contextlib.contextmanager
def _signals() -> Generator[asyncio.Queue[int]]:
    told: asyncio.Queue[int] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.put_nowait, int(number))
    try:
        yield told
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def _cannot_bind(host: str, port: int, error: OSError | OverflowError) -> BadRequest:
    if not isinstance(error, OSError):
        return BadRequest(f"port {port} is not a port; use 1 to 65535, or 0 for any free one")
    if error.errno == errno.EADDRINUSE:
        return BadRequest(
            f"port {port} on {host} is in use by another program. Use another port: "
            f"perdure serve --port {port + 1}, or --port 0 for any free one"
        )
    if error.errno == errno.EACCES:
        return BadRequest(f"port {port} needs root; use one above 1023: perdure serve --port 8000")
    return BadRequest(
        f"cannot listen on {host}: {error.strerror or error}. Try: perdure serve --host 127.0.0.1"
    )
