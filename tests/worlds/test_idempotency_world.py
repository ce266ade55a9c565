"""Clients that retry, join, hang up and outlive crashes of the server, on virtual time, one seed each."""

import asyncio
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import pytest

from perdure.clock import VirtualClock
from perdure.config import Places
from perdure.dialects.item import Call
from perdure.engines.scripted import Reply, ScriptedEngine
from perdure.errors import EngineFailed
from perdure.platform.app import app_of
from perdure.platform.platform import WORKSPACE, Platform
from perdure.rng import Rng, seeded

REQUESTS = 60
KEYS = 6
BODIES = 2
CRASH_SHARE = 0.05
HANG_UP_SHARE = 0.25
BREAK_SHARE = 0.2


@dataclass
class Seen:
    """What clients saw, by idempotency key: each finished answer with the body it answered."""

    finished: dict[str, set[tuple[bytes, bytes]]] = field(default_factory=lambda: defaultdict(set))
    refused: int = 0
    replayed: int = 0
    joined: int = 0
    broken: int = 0
    gone: int = 0


@pytest.mark.parametrize("seed", range(6))
async def test_a_key_never_has_two_answers(tmp_path: Path, seed: int):
    """Whatever is retried, joined, hung up, broken or crashed: one key, one body, one finished answer."""
    rng = seeded(seed, "clients")
    seen = Seen()
    key: str | None = None
    recorded = 0
    for _ in range(REQUESTS):
        platform, engine = start(tmp_path, rng)
        async with platform:
            key = key or platform.keys.make(WORKSPACE)
            waiting: list[asyncio.Task[None]] = []
            while rng.random() > CRASH_SHARE:
                waiting.append(asyncio.create_task(client(platform, key, rng, seen)))
                for _ in range(rng.randrange(40)):
                    await asyncio.sleep(0)
            if rng.random() < 0.5:
                await asyncio.gather(*waiting)
        await asyncio.gather(*waiting)
        recorded += engine.finished
    answers = sum(len(pairs) for pairs in seen.finished.values())
    assert all(len(pairs) == 1 for pairs in seen.finished.values())
    assert len(seen.finished) == KEYS
    assert min(seen.refused, seen.replayed, seen.joined, seen.broken, seen.gone) > 0, "the world is too kind"
    lines = (tmp_path / "data" / "traces" / WORKSPACE / "unnamed.jsonl").read_bytes().splitlines()
    assert answers == KEYS <= len(lines) <= recorded


def start(folder: Path, rng: Rng) -> tuple[Platform, ScriptedEngine]:
    """A server process, newly started on the same folder."""
    clock = VirtualClock(1000.0)

    def say(call: Call) -> Reply:
        if rng.random() < BREAK_SHARE:
            return EngineFailed("the engine broke")
        return f"answer {rng.random()} to {call.items[-1]}"

    engine = ScriptedEngine(clock=clock, answers=say, delay_s=0.1)
    places = Places(cache_dir=folder / "cache", data_dir=folder / "data", config_dir=folder / "config")
    return Platform(engines=[engine], places=places, clock=clock), engine


async def client(platform: Platform, key: str, rng: Rng, seen: Seen) -> None:
    """One request, as an ASGI server would hand it in; it may hang up before the end."""
    number, variant = rng.randrange(KEYS), int(rng.random() < 0.15)
    stream = number % 2 == 0
    body = orjson.dumps(
        {
            "model": "scripted",
            "stream": stream,
            "messages": [{"role": "user", "content": f"question {number}.{variant}"}],
        }
    )
    patience = rng.randrange(1, 40) if rng.random() < HANG_UP_SHARE else None
    status, headers, answer = await request(platform, key, f"key-{number}", body, patience)
    if status is None or (patience is not None and not whole(answer, stream)):
        seen.gone += 1
    elif status == 422:
        seen.refused += 1
    elif status != 200 or not whole(answer, stream):
        seen.broken += 1
    else:
        seen.finished[f"key-{number}"].add((body, answer))
        seen.replayed += "x-perdure-replayed" in headers
        seen.joined += "x-perdure-joined" in headers


def whole(answer: bytes, stream: bool) -> bool:
    return answer.endswith(b"data: [DONE]\n\n") if stream else b'"finish_reason"' in answer


async def request(platform: Platform, key: str, idempotency_key: str, body: bytes, patience: int | None):
    sent: list[dict] = []
    heard = [{"type": "http.request", "body": body}]
    done = asyncio.Event()

    async def receive() -> dict:
        if heard:
            return heard.pop()
        if patience is None:
            await done.wait()
        for _ in range(patience or 0):
            await asyncio.sleep(0)
        return {"type": "http.disconnect"}

    async def send(message: dict) -> None:
        sent.append(message)

    headers = [
        (b"authorization", f"Bearer {key}".encode()),
        (b"idempotency-key", idempotency_key.encode()),
    ]
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/chat/completions",
        "raw_path": b"/v1/chat/completions",
        "query_string": b"",
        "root_path": "",
        "headers": headers,
    }
    with suppress(asyncio.CancelledError):
        await app_of(platform)(scope, receive, send)
    done.set()
    start_message = next((message for message in sent if message["type"] == "http.response.start"), None)
    if start_message is None:
        return None, {}, b""
    names = {name.decode(): value.decode() for name, value in start_message["headers"]}
    return start_message["status"], names, b"".join(message.get("body", b"") for message in sent)
