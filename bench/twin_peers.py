"""How each simulator, ours and the peers', is asked for a case, and what it reports of its own run.

A peer gets the same workload in its own format, as near as that format allows; `note` says where it differs.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from twin_peers_command import Ended

AISIMULATE = "0.13.0.dev202610270000000085"
# The newest build whose schema ai-dynamo-runtime 1.6.1 understands; the two are pinned to each other.
AISIMULATE_OF_DYNAMO = "0.13.0.dev202610130000000070"
DYNAMO = "1.6.1"
SR_SIM = "0.1.0.dev20260713123629"

INSTALL = {
    "aisimulate": f"pip install aisimulate=={AISIMULATE}, then --aisimulate BIN/aisimulate",
    "dynamo": f"pip install aisimulate=={AISIMULATE_OF_DYNAMO} msgspec; pip install --no-deps "
    f"ai-dynamo=={DYNAMO} ai-dynamo-runtime=={DYNAMO}; then --dynamo BIN/aisimulate",
    "sr_sim": f"pip install vllm-sr-sim=={SR_SIM}, then --sr-sim BIN/vllm-sr-sim",
}

Figures = dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What came of making ready: a note for the reader, or why the case cannot be run."""

    note: str = ""
    failure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One simulator on one case.

    words    the whole command; empty where it is not there, and `missing` says how to get it
    note     where its case differs from ours
    prepare  makes what the command reads, once and untimed; says what is worth knowing of it
    warms_up whether a first run, in which it compiles, stays out of the medians
    read     its own figures after a run: `calls`, `kernel_s`, and what it simulated
    """

    name: str
    words: tuple[str, ...]
    missing: str = ""
    note: str = ""
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    prepare: Callable[[], Prepared] = lambda: Prepared()
    warms_up: bool = False
    read: Callable[[Ended], Figures]


def perdure(
    program: str, case: tuple[str, ...], *, prepare: Callable[[], Prepared] = lambda: Prepared()
) -> Contender:
    """Ours."""
    words = (program, "simulate", *case, "--json")
    return Contender(name="Perdure", words=words, prepare=prepare, warms_up=True, read=read_perdure)


def read_perdure(ended: Ended) -> Figures:
    """What `perdure simulate --json` prints, by the names that all contenders share."""
    said = json.loads(ended.output)
    figures = {
        "calls": said.get("turns"),
        "kernel_s": said.get("kernel_s"),
        "simulated_s": said.get("simulated_s"),
        "prefix_hit_rate": said.get("prefix_hit_rate"),
        "ttft_mean_s": said.get("ttft_s", {}).get("mean"),
        "tpot_mean_s": said.get("tpot_s", {}).get("mean"),
    }
    return {name: float(value) for name, value in figures.items() if value is not None}


def aisimulate(
    program: str,
    folder: Path,
    config: Mapping[str, object],
    *,
    stack: str = "engine",
    note: str = "",
    unpack: Callable[[], str] = lambda: "",
) -> Contender:
    """AISimulate's `predict`. Its YAML is written as JSON, which is YAML too. `unpack` makes its trace."""
    output = folder / "prediction"
    name = "AISimulate" if stack == "engine" else "AISimulate + Dynamo"
    path = found(program)
    words = (path, "predict", "--stack", stack, "--config", str(folder / "case.yaml"), "--overwrite")

    def prepare() -> Prepared:
        write_json(folder / "case.yaml", config)
        return Prepared(note=unpack())

    return Contender(
        name=name,
        words=(*words, "--output-dir", str(output)) if path else (),
        missing="" if path else INSTALL["aisimulate" if stack == "engine" else "dynamo"],
        note=note,
        environment={"DYN_LOG": "error"},  # its router logs a line for every request otherwise
        prepare=prepare,
        read=lambda _: read_aisimulate((output / "prediction.json").read_text(encoding="utf-8")),
    )


def read_aisimulate(report: str) -> Figures:
    """What prediction.json holds; the Dynamo stack puts the same names under `summary`."""
    whole = json.loads(report)
    said = whole.get("summary", whole)
    figures = {
        "calls": said["completed_requests"],
        "asked": said["num_requests"],
        "kernel_s": said["wall_time_ms"] / 1000,
        "simulated_s": said["duration_ms"] / 1000,
        "prefix_hit_rate": said.get("prefix_cache_reused_ratio"),
        "ttft_mean_s": said["mean_ttft_ms"] / 1000,
        "tpot_mean_s": said["mean_tpot_ms"] / 1000,
    }
    return {name: float(value) for name, value in figures.items() if value is not None}


def sr_sim(
    program: str, folder: Path, *, requests: int, prompt_tokens: int, output_tokens: int, rate: float
) -> Contender:
    """vllm-sr-sim's `simulate`: one short pool of one GPU, arrivals at `rate` a second.

    It has no closed loop, its command line knows no H200, and it simulates requests, not iterations.
    """
    report, lengths = folder / "report.json", folder / "lengths.json"
    total = prompt_tokens + output_tokens
    path = found(program)
    pools = f"--b-short {4 * total} --long-max-ctx {16 * total} --n-s 1 --n-l 1"
    words = (path, "simulate", "--cdf", str(lengths), "--lam", str(rate), "--slo", "500", *pools.split())
    words = (*words, "--gpu-short", "h100", "--gpu-long", "h100")

    def prepare() -> Prepared:
        write_json(lengths, [[total - 1, 0.0], [total, 1.0]])
        return Prepared()

    return Contender(
        name="vllm-sr-sim",
        words=(*words, "--n-req", str(requests), "--seed", "1", "--out", str(report)) if path else (),
        missing="" if path else INSTALL["sr_sim"],
        note=f"no iterations, no tokens; H100; open loop at {rate:g}/s",
        prepare=prepare,
        read=lambda _: {"calls": float(json.loads(report.read_text(encoding="utf-8"))["total_completed"])},
    )


def found(program: str) -> str:
    """Where `program` is, or nothing."""
    return shutil.which(program) or ""


def write_json(path: Path, value: object) -> None:
    """`value` in a file of its own folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
