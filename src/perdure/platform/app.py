"""Which path leads to which endpoint."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Lifespan

from perdure.clock import Clock
from perdure.config import Places
from perdure.dialects.openai_wire import encoded, error_body
from perdure.engines.engine import Engine
from perdure.errors import NotFound
from perdure.platform.asgi import JSON, error_headers
from perdure.platform.edge import Edge
from perdure.platform.endpoint import GeneratingEndpoint, Read
from perdure.platform.pages import Pages
from perdure.platform.platform import Platform
from perdure.platform.reading import reading_chat, reading_responses


def build_app(*, engines: Sequence[Engine], places: Places, clock: Clock) -> Starlette:
    """The server as an ASGI app; its lifespan starts and closes the engines. Parts: `app.state.platform`."""
    platform = Platform(engines=engines, places=places, clock=clock)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        async with platform:
            yield

    return app_of(platform, lifespan)


def app_of(platform: Platform, lifespan: Lifespan[Starlette] | None = None) -> Starlette:
    """The endpoints of a platform that somebody else starts and stops."""
    app = Starlette(
        routes=_routes(platform),
        middleware=[Middleware(Edge, platform=platform)],
        exception_handlers={HTTPException: _no_such_page},
        lifespan=lifespan,
    )
    app.state.platform = platform
    return app


def _routes(platform: Platform) -> list[Route]:
    pages = Pages(platform)
    return [
        Route("/v1/chat/completions", _generating(platform, reading_chat(platform)), methods=["POST"]),
        Route("/v1/responses", _generating(platform, reading_responses(platform)), methods=["POST"]),
        Route("/v1/responses/{response_id}", pages.response),
        Route("/v1/models", pages.models),
        Route("/v1/models/{model:path}", pages.model),
        Route("/v1/perdure/traces/{session:path}", pages.trace),
        Route("/health", pages.ready),
        Route("/healthz", pages.alive),
        Route("/readyz", pages.ready),
        Route("/metrics", pages.metrics),
        Route("/openapi.json", pages.openapi),
        Route("/", pages.root),
    ]


def _generating(platform: Platform, read: Read) -> GeneratingEndpoint:
    return GeneratingEndpoint(
        keys=platform.keys, generation=platform.generation, answers=platform.answers, read=read
    )


async def _no_such_page(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    refused = NotFound(
        f"{request.method} {request.url.path} is not served here; GET /openapi.json lists what is"
    )
    refused.status = error.status_code
    headers = {**error_headers(refused), **(error.headers or {})}
    return Response(
        encoded(error_body(refused)), status_code=error.status_code, headers=headers, media_type=JSON
    )
