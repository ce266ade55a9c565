"""What a folder of kernel timings of one model on one card holds, as calibration tables.

Reads what the profiler of LLMServingSim writes (github.com/casys-kaist/LLMServingSim, MIT): kernels of one
layer, timed inside vLLM. `dense.csv` has each of them by the tokens of a step, `per_sequence.csv` the head
and the sampler by sequences, `attention.csv` attention by a prompt's chunk, what lies before it, and how many
sequences of which length decode beside it. Times are microseconds. Routed experts (`moe.csv`) are not read:
they were timed by how many distinct ones a step meets, which is chance.
"""

import csv
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from perdure.errors import BadRequest
from perdure.silicon.calibration_table import STEPS_PER_OCTAVE

NS_PER_US = 1000.0
ROWS_MAX = 100_000
BESIDE_TOKENS = 1024  # of each decode whose time beside a chunk is kept
NO_CACHE = 1  # where an axis of logarithms has the chunk that starts a prompt

Record = dict[str, object]
Timings = Mapping[tuple[int, ...], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfiledModel:
    """The shapes of one chip's part of a layer, which the timings do not say.

    inner  channels of the feed-forward part; None where that is a mixture of experts
    """

    hidden: int
    query_heads: int
    kv_heads: int
    head_channels: int
    inner: int | None
    vocabulary: int

    @property
    def products(self) -> dict[str, tuple[int, int]]:
        """Outputs and inputs of each matrix, by the name that the profiler gives its kernel."""
        attended = self.query_heads * self.head_channels
        found = {
            "qkv_proj": (attended + 2 * self.kv_heads * self.head_channels, self.hidden),
            "o_proj": (self.hidden, attended),
        }
        if self.inner is not None:
            found |= {"gate_up_proj": (2 * self.inner, self.hidden), "down_proj": (self.hidden, self.inner)}
        return found


def profile_records(folder: Path, model: ProfiledModel, *, chip: str, version: str) -> Iterator[Record]:
    """One record of a calibration file for each kernel, in the form that `calibration_table` reads.

    Raises BadRequest where a file is missing or has a row that makes no sense.
    """

    def record(family: str, variant: str, axes: Sequence[Sequence[int]], timings: Timings) -> Record:
        return {
            "chip": chip,
            "stack": "any",
            "family": family,
            "variant": variant,
            "version": version,
            "axes": [list(axis) for axis in axes],
            "cells": [_step(timings.get(point)) for point in _points(axes)],
        }

    dense = _by_name(folder / "dense.csv", "layer", "tokens")
    ends = _by_name(folder / "per_sequence.csv", "layer", "sequences")
    for name, (outputs, inputs) in model.products.items():
        yield record("gemm", f"bf16/{outputs}x{inputs}", _axes(dense[name]), dense[name])
    yield record("gemm", f"bf16/{model.vocabulary}x{model.hidden}", _axes(ends["lm_head"]), ends["lm_head"])
    yield record("sampler", f"{model.vocabulary}", _axes(ends["sampler"]), ends["sampler"])
    heads = f"bf16/{model.query_heads}x{model.kv_heads}x{model.head_channels}"
    decodes, chunks, beside = _attention(folder / "attention.csv")
    yield record("attention_decode", heads, _axes(decodes), decodes)
    yield record("attention_chunk", heads, _axes(chunks), chunks)
    if beside:
        yield record("attention_beside", heads, _axes(beside), beside)


_ATTENTION = ("prefill_chunk", "kv_prefill", "n_decode", "kv_decode")


def _attention(path: Path) -> tuple[Timings, Timings, Timings]:
    """Decodes by (sequences, context) and chunks by (new, cached), each alone; and decodes beside a chunk.

    Only powers of two, as other sizes were timed in some combinations and not in others.
    """
    decodes: dict[tuple[int, ...], float] = {}
    chunks: dict[tuple[int, ...], float] = {}
    timings = _timings(path, *_ATTENTION)
    for (chunk, before, sequences, context), time_us in timings.items():
        if chunk == 0 and _doubled(sequences) and _doubled(context):
            decodes[sequences, context] = time_us
        if sequences == 0 and _doubled(chunk) and (before == 0 or _doubled(before)):
            chunks[chunk, before or NO_CACHE] = time_us
    return decodes, chunks, _beside(timings)


def _beside(timings: Timings) -> Timings:
    """What decodes of `BESIDE_TOKENS` add to a chunk, by their number: the median over chunks.

    Never less than they take alone: a few of them hide beside a long chunk, which we do not count on.
    """
    added: dict[int, list[float]] = {}
    for (chunk, before, sequences, context), time_us in timings.items():
        alone_us = timings.get((chunk, before, 0, 0))
        if alone_us is not None and chunk and _doubled(sequences) and context == BESIDE_TOKENS:
            added.setdefault(sequences, []).append(time_us - alone_us)
    return {
        (sequences,): max(statistics.median(times_us), timings[0, 0, sequences, BESIDE_TOKENS])
        for sequences, times_us in added.items()
    }


def _doubled(size: int) -> bool:
    return size > 0 and size & (size - 1) == 0


def _by_name(path: Path, name: str, size: str) -> Mapping[str, Timings]:
    found: dict[str, dict[tuple[int, ...], float]] = {}
    for row in _rows(path, name, size):
        found.setdefault(row[name], {})[_sizes(path, row, size)] = _time_us(path, row)
    return found


def _timings(path: Path, *sizes: str) -> Timings:
    return {_sizes(path, row, *sizes): _time_us(path, row) for row in _rows(path, *sizes)}


def _rows(path: Path, *names: str) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise BadRequest(f"{path}: no kernel timings can be read there: {error}") from error
    if not 0 < len(rows) <= ROWS_MAX or not {*names, "time_us"} <= rows[0].keys():
        raise BadRequest(
            f"{path}: needs up to {ROWS_MAX:,} rows with the columns {', '.join(names)}, time_us"
        )
    return rows


def _sizes(path: Path, row: Mapping[str, str], *names: str) -> tuple[int, ...]:
    try:
        return tuple(int(row[name]) for name in names)
    except ValueError as error:
        raise BadRequest(f"{path}: a size makes no sense: {error}") from error


def _time_us(path: Path, row: Mapping[str, str]) -> float:
    try:
        time_us = float(row["time_us"])
    except ValueError as error:
        raise BadRequest(f"{path}: a time makes no sense: {error}") from error
    if not 0 < time_us < math.inf:
        raise BadRequest(f"{path}: {time_us:g} us is no time of a kernel")
    return time_us


def _axes(timings: Timings) -> list[list[int]]:
    """Every size that occurs, one axis for each place of the keys."""
    return [sorted(set(places)) for places in zip(*timings, strict=True)]


def _points(axes: Sequence[Sequence[int]]) -> Iterator[tuple[int, ...]]:
    if not axes:
        yield ()
        return
    for size in axes[0]:
        for rest in _points(axes[1:]):
            yield (size, *rest)


def _step(time_us: float | None) -> int | None:
    return None if time_us is None else round(math.log2(time_us * NS_PER_US) * STEPS_PER_OCTAVE)
