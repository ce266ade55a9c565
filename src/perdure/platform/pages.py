"""What the server says of itself: its models, its health, its metrics and its description."""

import asyncio
from typing import Any, Protocol, runtime_checkable

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from perdure.dialects.openai_wire import encoded
from perdure.errors import NotFound
from perdure.platform.asgi import JSON, read_key
from perdure.platform.generating import Line
from perdure.platform.openapi import description
from perdure.platform.platform import Platform

WELCOME = """Perdure answers OpenAI clients here.

  POST /v1/chat/completions    POST /v1/responses    GET /v1/models
  GET  /openapi.json           GET  /metrics         GET /readyz

Point a client at this address followed by /v1; `perdure env` prints the lines, with your key.
"""


@runtime_checkable
class Restarts(Protocol):
    """An engine that counts how often its process had to be started again."""

    @property
    def restarts(self) -> int: ...


class Pages:
    """Plain request and response endpoints; none of them generates anything."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    async def root(self, request: Request) -> Response:
        return PlainTextResponse(WELCOME)

    async def models(self, request: Request) -> Response:
        await self._workspace(request)
        cards = [self._model(line) for line in self._platform.lines.values()]
        return _json({"object": "list", "data": cards})

    async def model(self, request: Request) -> Response:
        await self._workspace(request)
        return _json(self._model(self._platform.generation.line(request.path_params["model"])))

    async def response(self, request: Request) -> Response:
        workspace = await self._workspace(request)
        response_id = request.path_params["response_id"]
        stored = await asyncio.to_thread(
            self._platform.store.response, response_id, workspace, self._platform.clock.now_s()
        )
        if stored is None:
            raise NotFound(
                f"there is no response {response_id!r}; responses are kept 7 days for the workspace that "
                "made them, unless `store` was false"
            )
        return Response(stored.body, media_type=JSON)

    async def trace(self, request: Request) -> Response:
        workspace = await self._workspace(request)
        session = request.path_params["session"]
        lines = await asyncio.to_thread(self._platform.recorder.read, workspace, session)
        return Response(lines, media_type="application/x-ndjson")

    async def alive(self, request: Request) -> Response:
        return _json({"status": "ok"})

    async def ready(self, request: Request) -> Response:
        if self._platform.ready:
            return _json({"status": "ready", "models": list(self._platform.lines)})
        if self._platform.draining:
            running = self._platform.active_requests - 1  # this one aside
            return _json({"status": "draining", "running_requests": running}, status=503)
        waiting = [name for name, line in self._platform.lines.items() if not line.engine.ready]
        return _json({"status": "starting", "waiting_for": waiting}, status=503)

    async def metrics(self, request: Request) -> Response:
        metrics = self._platform.metrics
        for name, line in self._platform.lines.items():
            if isinstance(line.engine, Restarts):
                metrics.engine_restarts.labels(name).set(line.engine.restarts)
        return Response(metrics.page(), media_type=metrics.content_type)

    async def openapi(self, request: Request) -> Response:
        return _json(description())

    async def _workspace(self, request: Request) -> str:
        return await self._platform.keys.workspace_of(read_key(request.headers))

    def _model(self, line: Line) -> dict[str, Any]:
        card = line.engine.card
        return {
            "id": card.id,
            "object": "model",
            "created": int(self._platform.started_s),
            "owned_by": "perdure",
            "max_model_len": card.window_tokens,
            "engine": card.engine,
            "slots": card.slots,
        }


def _json(body: object, status: int = 200) -> Response:
    return Response(encoded(body), status_code=status, media_type=JSON)
