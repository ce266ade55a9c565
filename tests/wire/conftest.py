"""A server on a loopback port, with an engine that says what the test tells it to."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import openai
import orjson
import pytest

from perdure.clock import SystemClock
from perdure.config import Places
from perdure.engines.scripted import Script, ScriptedEngine
from perdure.platform.platform import WORKSPACE, Platform
from perdure.platform.server import bind, listening

Serving = Callable[..., AbstractAsyncContextManager["Served"]]


@dataclass(frozen=True, kw_only=True)
class Served:
    """A running server, and clients for it."""

    base_url: str
    key: str
    engine: ScriptedEngine
    platform: Platform

    def client(self, **options) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(
            **{"base_url": self.base_url, "api_key": self.key, "max_retries": 0, **options}
        )

    def sync_client(self, **options) -> openai.OpenAI:
        return openai.OpenAI(**{"base_url": self.base_url, "api_key": self.key, "max_retries": 0, **options})


@pytest.fixture
def serving(tmp_path: Path) -> Serving:
    """`async with serving(answers, ...) as served`: a server; a second one in the same test is a restart."""
    places = Places(cache_dir=tmp_path / "cache", data_dir=tmp_path / "data", config_dir=tmp_path / "config")

    @asynccontextmanager
    async def serving(answers: Script | None = None, **engine_options) -> AsyncIterator[Served]:
        clock = SystemClock()
        engine = ScriptedEngine(clock=clock, answers=answers, **engine_options)
        platform = Platform(engines=[engine], places=places, clock=clock)
        socket = bind("127.0.0.1", 0)
        async with platform, listening(platform, [socket]):
            port = socket.getsockname()[1]
            key = platform.keys.make(WORKSPACE)
            yield Served(base_url=f"http://127.0.0.1:{port}/v1", key=key, engine=engine, platform=platform)

    return serving


@pytest.fixture
async def served(serving: Serving) -> AsyncIterator[Served]:
    """A server whose engine repeats the last thing said."""
    async with serving() as running:
        yield running


@pytest.fixture
def raw() -> Callable[[Served], AbstractAsyncContextManager[Callable]]:
    """`async with raw(served) as ask`: `ask(body, key)` gives status, headers and bytes."""

    @asynccontextmanager
    async def raw(served: Served) -> AsyncIterator[Callable]:
        async with aiohttp.ClientSession() as http:

            async def ask(body, key="k1", path="/chat/completions", api_key=served.key):
                headers = {"authorization": f"Bearer {api_key}", "idempotency-key": key}
                url = served.base_url + path
                async with http.post(url, data=orjson.dumps(body), headers=headers) as answer:
                    return answer.status, answer.headers, await answer.read()

            yield ask

    return raw


@pytest.fixture
def until() -> Callable:
    """`await until(condition)`: wait for what another task brings about."""

    async def until(condition: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not condition():  # noqa: ASYNC110  the condition is another's, and sends no event
                await asyncio.sleep(0.002)

    return until
