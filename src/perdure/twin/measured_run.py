"""What a measured run of vLLM was, request by request, and on which settings.

Reads a folder of LLMServingSim's `bench/examples` (github.com/casys-kaist/LLMServingSim, MIT): `config.json`
names card and model, `meta.json` the engine's arguments, `requests.jsonl` the times of each request.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from perdure.errors import BadRequest

REQUESTS_MAX = 100_000
FILES = ("config.json", "meta.json", "requests.jsonl")


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredCall:
    """Times are seconds from the first arrival; `started_s` is when the scheduler first took it."""

    prompt_tokens: int
    output_tokens: int
    arrived_s: float
    started_s: float
    first_token_s: float
    ended_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredRun:
    """`kv_blocks` is None where the run did not note how many the server had."""

    card: str
    model: str
    version: str
    batch_tokens_max: int
    sequences_max: int
    block_tokens: int
    kv_blocks: int | None
    calls: tuple[MeasuredCall, ...]

    @property
    def id(self) -> str:
        """Card and model, as in the folder's path."""
        return f"{self.card}/{self.model}"


def read_runs(folder: Path) -> tuple[MeasuredRun, ...]:
    """Every run below `folder`, in the order of their paths; BadRequest where there is none."""
    found = sorted(path.parent for path in folder.glob("**/requests.jsonl"))
    if not found:
        raise BadRequest(
            f"{folder}: has no requests.jsonl in it or below; give a copy of LLMServingSim's bench/examples"
        )
    return tuple(read_run(path) for path in found)


def read_run(folder: Path) -> MeasuredRun:
    """The run in `folder`; BadRequest where a file is missing or makes no sense."""
    config, meta = (_object(folder / name) for name in FILES[:2])
    try:
        instance = config["nodes"][0]["instances"][0]
        engine = meta["engine_kwargs"]
        cache: dict[str, Any] = meta.get("kv_cache") or {}
        run = MeasuredRun(
            card=str(instance["hardware"]),
            model=str(instance["model_name"]).rsplit("/", 1)[-1],
            version=str(meta["vllm_version"]),
            batch_tokens_max=int(engine["max_num_batched_tokens"]),
            sequences_max=int(engine["max_num_seqs"]),
            block_tokens=int(cache.get("block_size", 16)),
            kv_blocks=cache.get("num_gpu_blocks"),
            calls=_calls(folder / FILES[2]),
        )
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise BadRequest(f"{folder}: a run lacks what it must say: {error!r}") from error
    return run


def _calls(path: Path) -> tuple[MeasuredCall, ...]:
    """The requests, on one clock.

    Arrivals were taken from the wall clock, the rest from the engine's: the two are set so that the request
    that was queued soonest after its arrival was queued at once.
    """
    rows = list(_rows(path))
    if not 0 < len(rows) <= REQUESTS_MAX:
        raise BadRequest(f"{path}: has {len(rows)} requests; from 1 to {REQUESTS_MAX:,} can be read")
    behind_s = min(row["queued_ts"] - row["arrival_time"] for row in rows)
    start_s = min(row["arrival_time"] for row in rows) + behind_s
    return tuple(
        MeasuredCall(
            prompt_tokens=int(row["input_toks"]),
            output_tokens=int(row["output_toks"]),
            arrived_s=row["arrival_time"] + behind_s - start_s,
            started_s=row["scheduled_ts"] - start_s,
            first_token_s=row["first_token_ts"] - start_s,
            ended_s=row["last_token_ts"] - start_s,
        )
        for row in rows
    )


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield json.loads(line)
            except ValueError as error:
                raise BadRequest(f"{path}: line {number} is no JSON: {error}") from error


def _object(path: Path) -> Mapping[str, Any]:
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadRequest(f"{path}: cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise BadRequest(f"{path}: holds no object")
    return cast(Mapping[str, Any], found)
