"""Samples AIConfigurator's 12.6 million kernel timings once, into the compact tables that we ship.

    python bench/aiconfigurator_sample.py [--out src/perdure/silicon/calibrations/nvidia.jsonl.gz]

Needs the extra `nvidia`. For each chip, serving stack and kind of kernel it reads times off at the points of
our own grids (see `perdure.silicon.calibration`), interpolating where the measurement has no such point.
A time is kept as its base-2 logarithm in nanoseconds, times 50: 1.4 % a step.
"""

import argparse
import gzip
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import aiconfigurator_core
import numpy as np
import pandas as pd
import pyarrow.parquet as pq

SYSTEMS = Path(aiconfigurator_core.__file__).parent / "systems" / "data"
CHIPS = {
    "h100_sxm": "nvidia-h100",
    "h200_sxm": "nvidia-h200",
    "b200_sxm": "nvidia-b200",
    "b300_sxm": "nvidia-b300",
    "gb200": "nvidia-gb200",
    "gb300": "nvidia-gb300",
}
STACKS = ("trtllm", "sglang", "vllm")
ANY_STACK = "any"
MODULES = ("sparse_decode_module", "sparse_prefill_module")
STEPS_PER_OCTAVE = 50
INDEX_MS_MIN = 0.005
HALF_BYTES = 2  # exchanges were timed in FP16, and their sizes are in numbers

ROWS = (1, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
COLUMNS = (128, 256, 512, 1024, 1536, 2048, 3072, 4096, 5120, 6144, 8192, 12288, 16384, 65536)
SEQUENCES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
HEAD_SEQUENCES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
CONTEXTS = (128, 512, 1024, 2048, 4096, 8192, 16384, 32768, 131072)
PROMPTS = (16, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
TOKENS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
MESSAGES = tuple(2**power for power in range(9, 29))

MIXTURES = {
    "7168x2048x256x8": (7168, 2048, 256, 8),
    "7168x2048x384x8": (7168, 2048, 384, 8),
    "6144x2048x256x8": (6144, 2048, 256, 8),
    "4096x1536x128x8": (4096, 1536, 128, 8),
    "4096x1024x512x10": (4096, 1024, 512, 10),
    "3072x1536x256x8": (3072, 1536, 256, 8),
    "2880x2880x128x4": (2880, 2880, 128, 4),
    "2048x768x128x8": (2048, 768, 128, 8),
}
MIXTURE_SPLITS = (
    (1, 1),
    (2, 1),
    (4, 1),
    (8, 1),
    (16, 1),
    (1, 2),
    (1, 4),
    (1, 8),
    (1, 16),
    (1, 32),
    (2, 2),
    (2, 4),
    (4, 2),
)
GEMMS = ("bfloat16", "fp8_block", "nvfp4")
ROUTING = "power_law_1.01"


def main() -> int:
    """Write one line per table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("src/perdure/silicon/calibrations/nvidia.jsonl.gz"))
    parser.add_argument("--routing", default=ROUTING)
    arguments = parser.parse_args()
    lines: list[str] = []
    for system, chip in CHIPS.items():
        kernels: dict[str, Sampled] = {}
        for stack in STACKS:
            for sampled in kernel_tables(system, stack, arguments.routing):
                key = f"{sampled.family}/{sampled.variant}"
                kernels[key] = faster(kernels[key], sampled) if key in kernels else sampled
        kernels.update({f"{index.family}/{index.variant}": index for index in sparse_indices(kernels)})
        for name in MODULES:
            kernels = {key: sampled for key, sampled in kernels.items() if sampled.family != name}
        found = [(ANY_STACK, sampled) for sampled in kernels.values()]
        found += [(stack, sampled) for stack in STACKS for sampled in reduces(system, stack)]
        found += [("nccl", sampled) for sampled in collectives(system)]
        lines += [line_of(chip, stack, sampled) for stack, sampled in found]
        print(chip, len(lines), "tables")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    packed = gzip.compress(("\n".join(lines) + "\n").encode(), compresslevel=9, mtime=0)
    arguments.out.write_bytes(packed)
    print(f"{arguments.out}: {len(packed) / 1e3:.0f} kB, {sum(map(len, lines)) / 1e3:.0f} kB unpacked")
    return 0


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """Milliseconds on a grid, NaN where nothing was measured; `version` of the stacks that were timed."""

    family: str
    variant: str
    version: str
    axes: tuple[tuple[int, ...], ...]
    times_ms: np.ndarray


def faster(one: Sampled, other: Sampled) -> Sampled:
    """The faster time at each point: stacks share their kernels, and differ in what their caller adds.

    A timing that a Python caller bounds (vLLM's FP8-block products take 60 to 180 microseconds at any
    size) is no kernel's; served models replay graphs without that caller.
    """
    assert one.axes == other.axes, "all stacks are sampled at the same points"
    times_ms = np.fmin(one.times_ms, other.times_ms)
    return replace(one, version=f"{one.version}, {other.version}", times_ms=times_ms)


def kernel_tables(system: str, stack: str, routing: str) -> Iterator[Sampled]:
    """Every kernel of one stack on one chip."""
    yield from gemms(system, stack)
    yield from attentions(system, stack)
    yield from latents(system, stack)
    yield from mixtures(system, stack, routing)
    yield from recurrents(system, stack)


def gemms(system: str, stack: str) -> Iterator[Sampled]:
    """Dense matrix products, rows x columns x depth."""
    for version, frame in newest(system, "gemm", stack, "gemm_perf"):
        for dtype, part in frame.groupby("gemm_dtype"):
            if dtype in GEMMS:
                yield table("gemm", dtype, version, part, {"m": ROWS, "n": COLUMNS, "k": COLUMNS})
            if dtype == "fp8":
                static = without_scales(part, system, stack)
                yield table("gemm", "fp8_static", version, static, {"m": ROWS, "n": COLUMNS, "k": COLUMNS})


def without_scales(frame: pd.DataFrame, system: str, stack: str) -> pd.DataFrame:
    """FP8 products whose scales are known beforehand: less what finding the largest input took."""
    for _, scales in newest(system, "quantize", stack, "computescale_perf"):
        spent = scales.groupby(["m", "k"])["latency"].min().rename("spent_ms").reset_index()
        joined = frame.merge(spent, on=["m", "k"], how="left").fillna({"spent_ms": 0.0})
        return joined.assign(latency=np.maximum(joined.latency - joined.spent_ms, joined.latency * 0.3))
    return frame


def attentions(system: str, stack: str) -> Iterator[Sampled]:
    """Grouped-query attention: decode by (sequences x KV heads, context), prefill by (x heads, prompt)."""
    for version, frame in newest(system, "attention", stack, "generation_attention_perf"):
        frame = frame.assign(rows=frame.batch_size * frame.num_key_value_heads, context=frame.step + 1)
        frame = frame[frame.num_heads / frame.num_key_value_heads >= 2]
        for (dtype, width, window), part in frame.groupby(["kv_cache_dtype", "head_dim", "window_size"]):
            if width in (64, 128, 256) and window in (0, 128):
                name = f"{dtype}/{width}/{window}"
                yield table(
                    "attention_decode", name, version, part, {"rows": HEAD_SEQUENCES, "context": CONTEXTS}
                )
    for version, frame in newest(system, "attention", stack, "context_attention_perf"):
        frame = frame[(frame.num_heads / frame.num_key_value_heads >= 2) & (frame.step == 0)]
        frame = frame.assign(rows=frame.batch_size * frame.num_heads)
        for (dtype, width, window), part in frame.groupby(["attn_dtype", "head_dim", "window_size"]):
            if width in (64, 128, 256) and window in (0, 128):
                name = f"{dtype}/{width}/{window}"
                yield table(
                    "attention_prefill", name, version, part, {"rows": HEAD_SEQUENCES, "isl": PROMPTS}
                )


def latents(system: str, stack: str) -> Iterator[Sampled]:
    """Multi-head latent attention: the kernels, or the whole module where only that was measured."""
    for version, frame in newest(system, "mla", stack, "generation_mla_perf"):
        frame = frame.assign(context=frame.step + 1)
        for dtype, part in frame.groupby("kv_cache_dtype"):
            axes = {"num_heads": (8, 16, 32, 64, 128), "batch_size": SEQUENCES, "context": CONTEXTS}
            yield table("latent_decode", dtype, version, part, axes)
    for version, frame in newest(system, "mla", stack, "context_mla_perf"):
        frame = frame[frame.step == 0]
        for dtype, part in frame.groupby("kv_cache_dtype"):
            axes = {"num_heads": (8, 16, 32, 64, 128), "batch_size": (1, 2, 4, 8, 16), "isl": PROMPTS}
            yield table("latent_prefill", dtype, version, part, axes)
    for version, frame in newest(system, "mla_bmm", stack, "mla_bmm_perf"):
        for (op, dtype), part in frame.groupby(["op_name", "bmm_dtype"]):
            axes = {"num_heads": (8, 16, 32, 64, 128), "num_tokens": TOKENS}
            yield table("latent_bmm", f"{op}/{dtype}", version, part, axes)
    for version, frame in newest(system, "sparse_attention", stack, "dsa_generation_module_perf"):
        frame = frame[
            (frame.architecture == "GlmMoeDsaForCausalLM") & (frame.op_name == "dsa_generation_module")
        ]
        for (kv, gemm), part in frame.groupby(["kv_cache_dtype", "gemm_type"]):
            axes = {"num_heads": (8, 16, 32, 64), "batch_size": SEQUENCES, "step": CONTEXTS}
            yield table("sparse_decode_module", f"{kv}/{gemm}", version, part, axes)
    for version, frame in newest(system, "sparse_attention", stack, "dsa_context_module_perf"):
        frame = frame[(frame.architecture == "GlmMoeDsaForCausalLM") & (frame.step <= 1)]
        for (kv, gemm), part in frame.groupby(["kv_cache_dtype", "gemm_type"]):
            axes = {"num_heads": (8, 16, 32, 64), "batch_size": (1, 2, 4, 8), "isl": PROMPTS}
            yield table("sparse_prefill_module", f"{kv}/{gemm}", version, part, axes)


def mixtures(system: str, stack: str, routing: str) -> Iterator[Sampled]:
    """Routed experts, both products, by tokens; one table per shape and split."""
    done: set[str] = set()
    for version, frame in every(system, "moe", stack, "moe_perf"):
        frame = frame[frame.distribution == routing]
        for name, (hidden, inter, experts, chosen) in MIXTURES.items():
            shaped = frame[
                (frame.hidden_size == hidden)
                & (frame.inter_size == inter)
                & (frame.num_experts == experts)
                & (frame.topk == chosen)
            ]
            for (dtype, tp, ep), part in shaped.groupby(["moe_dtype", "moe_tp_size", "moe_ep_size"]):
                variant = f"{dtype}/{name}/tp{tp}/ep{ep}"
                if (tp, ep) in MIXTURE_SPLITS and variant not in done:
                    done.add(variant)
                    yield table("moe", variant, version, part, {"num_tokens": TOKENS})


def recurrents(system: str, stack: str) -> Iterator[Sampled]:
    """Gated DeltaNet: convolution and recurrence, by heads of values and tokens."""
    for version, frame in newest(system, "linear_attention", stack, "gdn_perf"):
        frame = frame[frame.num_v_heads / frame.num_k_heads == 4]
        for (phase, kernel), part in frame.groupby(["phase", "kernel_source"]):
            kind = "convolution" if "conv1d" in kernel else "recurrence"
            if phase == "context":
                part = part[part.batch_size <= 4]
            part = part.assign(num_tokens=part.num_tokens if phase == "context" else part.batch_size)
            axes = {"num_v_heads": (4, 8, 16, 32, 64), "num_tokens": TOKENS}
            yield table(f"linear_{phase}", kind, version, part, axes)


def reduces(system: str, stack: str) -> Iterator[Sampled]:
    """All-reduces of the stack's own kernels, as captured in a graph, by bytes."""
    for version, frame in newest(system, "comm", stack, "custom_allreduce_perf"):
        if frame.kernel_source.str.contains("graph").any():
            frame = frame[frame.kernel_source.str.contains("graph")]
        for chips, part in frame.groupby("num_gpus"):
            part = part.assign(message_size=part.message_size * HALF_BYTES)
            yield table("all_reduce", f"{chips}", version, part, {"message_size": MESSAGES})


def collectives(system: str) -> Iterator[Sampled]:
    """NCCL by bytes."""
    for version, frame in newest(system, "comm", "nccl", "nccl_perf"):
        frame = frame[frame.nccl_dtype == "half"]
        for (op, chips), part in frame.groupby(["op_name", "num_gpus"]):
            part = part.assign(message_size=part.message_size * HALF_BYTES)
            yield table(op, f"{chips}", version, part, {"message_size": MESSAGES})


def every(system: str, family: str, stack: str, name: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """All versions of a file, the newest first."""
    paths = sorted(
        SYSTEMS.glob(f"{system}/{family}/{stack}/*/{name}.parquet"),
        key=lambda path: numbers(path.parent.name),
    )
    for path in reversed(paths):
        yield path.parent.name, pq.read_table(path).to_pandas()


def newest(system: str, family: str, stack: str, name: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """The newest version of a file, or nothing."""
    for found in every(system, family, stack, name):
        yield found
        return


def numbers(version: str) -> tuple[int, ...]:
    """A version as numbers that sort."""
    return tuple(int(word) for word in "".join(c if c.isdigit() else " " for c in version).split())


def table(
    family: str, variant: object, version: str, frame: pd.DataFrame, axes: Mapping[str, Sequence[int]]
) -> Sampled:
    """Times of `frame` at the points of `axes`."""
    names = list(axes)
    best = frame.groupby(names)["latency"].min()
    times_ms = resample(best, [np.array(axes[name], float) for name in names])
    points = tuple(tuple(axes[name]) for name in names)
    return Sampled(family=family, variant=str(variant), version=version, axes=points, times_ms=times_ms)


def sparse_indices(kernels: Mapping[str, Sampled]) -> Iterator[Sampled]:
    """What picking tokens costs in sparse attention: only its whole module was timed (GLM-5, 8 heads a chip).

    So it is the module less the products and the attention that we price apart.
    """
    for phase in ("decode", "prefill"):
        module = next((m for key, m in kernels.items() if key.startswith(f"sparse_{phase}_module/fp8")), None)
        if module is None:
            continue
        products = kernels[f"gemm/{module.variant.split('/')[1]}"]
        heads = module.axes[0].index(8)
        times_ms = module.times_ms[heads].copy()
        for (i, sequences), (j, length) in product(enumerate(module.axes[1]), enumerate(module.axes[2])):
            tokens = sequences if phase == "decode" else sequences * length
            spent_ms = sum(
                point(products, tokens, n, k)
                for n, k in ((2624, 6144), (2048, 2048), (6144, 2048), (4096, 2048), (160, 6144))
            )
            if phase == "decode":
                spent_ms += 2 * point(kernels["latent_bmm/mla_gen_pre/bfloat16"], 8, tokens)
                spent_ms += point(kernels["latent_decode/fp8"], 8, sequences, min(length, 2048))
            times_ms[i, j] = max(times_ms[i, j] - spent_ms, INDEX_MS_MIN)
        axes = module.axes[1:]
        yield Sampled(
            family="sparse_index", variant=phase, version=module.version, axes=axes, times_ms=times_ms
        )


def point(sampled: Sampled, *sizes: float) -> float:
    """The time at the nearest point of the grid."""
    indices = [
        int(np.argmin(np.abs(np.log(np.array(axis) / size))))
        for axis, size in zip(sampled.axes, sizes, strict=True)
    ]
    return float(np.nan_to_num(sampled.times_ms[tuple(indices)]))


def line_of(chip: str, stack: str, sampled: Sampled) -> str:
    """One table as a line of the file."""
    logs = np.log2(sampled.times_ms * 1e6) * STEPS_PER_OCTAVE
    cells = [None if np.isnan(cell) else round(cell) for cell in logs.ravel()]
    kept = trimmed(cells, [list(axis) for axis in sampled.axes])
    words = {"family": sampled.family, "variant": sampled.variant, "version": sampled.version}
    return json.dumps({"chip": chip, "stack": stack, **words, **kept}, separators=(",", ":"))


def resample(grid: pd.Series, axes: list[np.ndarray]) -> np.ndarray:
    """Times on `axes`, linear between logarithms along one axis after another; no extrapolation."""
    frame = grid.unstack(list(range(grid.index.nlevels - 1))) if grid.index.nlevels > 1 else grid.to_frame()
    along = np.log2(frame.index.to_numpy(float))
    logs = np.log2(frame.to_numpy(float))
    out = np.column_stack([interpolated(np.log2(axes[-1]), along, logs[:, j]) for j in range(logs.shape[1])])
    if grid.index.nlevels == 1:
        return 2 ** out[:, 0]
    columns = frame.columns
    result = np.empty((*(len(axis) for axis in axes[:-1]), len(axes[-1])))
    for index in range(len(axes[-1])):
        rest = pd.Series(2 ** out[index], index=columns).dropna()
        shape = tuple(len(axis) for axis in axes[:-1])
        result[..., index] = resample(rest, axes[:-1]).reshape(shape) if len(rest) else np.full(shape, np.nan)
    return result


def interpolated(at: np.ndarray, along: np.ndarray, values: np.ndarray) -> np.ndarray:
    """`values` at `at`, NaN outside the ends."""
    known = ~np.isnan(values)
    if not known.any():
        return np.full(len(at), np.nan)
    return np.interp(at, along[known], values[known], left=np.nan, right=np.nan)


def trimmed(cells: list[int | None], axes: list[list[int]]) -> Mapping[str, object]:
    """The cells without the outer planes in which nothing was measured."""
    array = np.array([np.nan if cell is None else cell for cell in cells], float)
    array = array.reshape([len(axis) for axis in axes])
    for number in range(len(axes)):
        others = tuple(other for other in range(len(axes)) if other != number)
        keep = ~np.isnan(array).all(axis=others) if others else ~np.isnan(array)
        array = np.compress(keep, array, axis=number)
        axes[number] = [point for point, kept in zip(axes[number], keep, strict=True) if kept]
    flat = [None if np.isnan(cell) else int(cell) for cell in array.ravel()]
    return {"axes": axes, "cells": flat}


if __name__ == "__main__":
    sys.exit(main())
