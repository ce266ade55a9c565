"""What happens to every request: an id, a time, a count, and an error that the client can read."""

import logging
import re

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from perdure.clock import Clock
from perdure.errors import PerdureError, Unavailable
from perdure.platform.asgi import ClientGone, raw_headers, send_error
from perdure.platform.limits import REQUEST_ID_CHARACTERS_MAX
from perdure.platform.platform import Platform
from perdure.rng import new_id

logger = logging.getLogger("perdure.requests")

REQUEST_ID = re.compile(rf"[\x21-\x7e]{{1,{REQUEST_ID_CHARACTERS_MAX}}}")
ALWAYS_OPEN = frozenset({"/", "/health", "/healthz", "/readyz", "/metrics", "/openapi.json"})


class Edge:
    """The outermost ASGI layer. While the platform drains, new work is refused and running work goes on."""

    def __init__(self, app: ASGIApp, *, platform: Platform) -> None:
        self._app = app
        self._platform = platform

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        visit = _Visit(scope, send, self._platform.clock)
        self._platform.active_requests += 1
        try:
            if self._platform.draining and scope["path"] not in ALWAYS_OPEN:
                raise Unavailable("this server is shutting down; ask again, or ask another one")
            await self._app(scope, receive, visit.send)
        except PerdureError as error:
            await visit.fail(error)
        except ClientGone:
            visit.status = 499  # nginx's number for a client that hung up
        except Exception:  # the edge of the request: nothing that breaks one may take others with it
            logger.exception("%s %s broke", scope["method"], scope["path"])
            await visit.fail(PerdureError("the server failed to answer; its log says why"))
        finally:
            self._platform.active_requests -= 1
            self._note(scope, visit)

    def _note(self, scope: Scope, visit: "_Visit") -> None:
        route = getattr(scope.get("route"), "path", "unknown")
        self._platform.metrics.requests.labels(route, str(visit.status)).inc()
        level = logging.DEBUG if scope["path"] in ALWAYS_OPEN else logging.INFO
        logger.log(
            level,
            "%s %s %d %.0f ms %s",
            scope["method"],
            route,
            visit.status,
            visit.elapsed_s * 1000,
            visit.request_id,
        )


class _Visit:
    """One request on its way through: adds our headers to whatever answer goes out."""

    def __init__(self, scope: Scope, send: Send, clock: Clock) -> None:
        wanted = Headers(scope=scope).get("x-request-id", "")
        self.request_id = wanted if REQUEST_ID.fullmatch(wanted) else new_id("req")
        self.status = 0
        self._send = send
        self._clock = clock
        self._started_s = clock.monotonic_s()

    @property
    def elapsed_s(self) -> float:
        return self._clock.monotonic_s() - self._started_s

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            ours = {
                "x-request-id": self.request_id,
                "openai-processing-ms": f"{self.elapsed_s * 1000:.0f}",
            }
            message = {**message, "headers": [*message["headers"], *raw_headers(ours)]}
        await self._send(message)

    async def fail(self, error: PerdureError) -> None:
        """Answer with `error`, unless an answer has begun."""
        if self.status == 0:
            await send_error(self.send, error)
