"""Which cases the simulators are raced on: the workload, the hardware, and what we need to reach."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from twin_peers import Contender, Prepared, aisimulate, perdure, sr_sim, write_json
from twin_peers_command import run_command
from twin_peers_score import Target
from twin_peers_weka import write_declared

GIB = 1024**3
IMPORT_S_MAX = 300.0

# Requests a second that 64 clients get through in AISimulate's run of the first case; the open loop of a peer
# without closed loops.
CLOSED_LOOP_RATE = 15.8
LLAMA, QWEN = "meta-llama/Meta-Llama-3.1-8B", "Qwen/Qwen3-32B-FP8"
# 21,903 of the 24,015 calls are longer than Qwen3-32B's 40,960 tokens, the longest has 881,443: a simulator
# that keeps to the window refuses nine in ten and looks fast.
LONG_WINDOW_TOKENS = 2**20
# Qwen3-32B as huggingface.co/Qwen/Qwen3-32B describes it, but for that window, for ours to read.
QWEN_LONG = {
    "model_type": "qwen3",
    "hidden_size": 5120,
    "vocab_size": 151936,
    "num_hidden_layers": 64,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "intermediate_size": 25600,
    "tie_word_embeddings": False,
    "max_position_embeddings": LONG_WINDOW_TOKENS,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the user typed: where each program is, where the shared traces are, where to write."""

    perdure: str
    aisimulate: str
    dynamo: str
    sr_sim: str
    shared: Path
    folder: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One race; `contenders` starts with ours, `needs` are the files of the shared folder that it takes."""

    letter: str
    title: str
    needs: tuple[str, ...] = ()
    targets: tuple[Target, ...]
    contenders: Callable[[Asked], list[Contender]]


def at_most(figure: str, limit: float) -> Target:
    """`figure` must not be more than `limit`."""
    return Target(figure=figure, side="at most", limit=limit)


def at_least(figure: str, limit: float) -> Target:
    """`figure` must not be less than `limit`."""
    return Target(figure=figure, side="at least", limit=limit)


def engine(model: str, *, replicas: int, tensor: int = 1, **more: object) -> dict[str, object]:
    """AISimulate's engine section: vLLM with op-level timings, blocks of 64 tokens."""
    worker = {
        "parallelism": {"replicas": replicas, "tensor": tensor},
        "kv_cache": {"block_size": 64},
    }
    about = {"mode": "aggregated", "model": model, "hardware": "h200_sxm", "backend": "vllm", **more}
    return {**about, "workers": {"aggregated": worker}}


def closed_loop(requests: int, asked: Asked) -> list[Contender]:
    """Equal requests, 64 at a time, on one H200."""
    workload = f"synthetic:requests={requests},input=2048,output=128,concurrency=64"
    traffic = {
        "source": {"type": "synthetic", "input_tokens": 2048, "output_tokens": 128},
        "load": {"type": "concurrency", "concurrency": 64},
        "stop": {"requests": requests},
    }
    folder = asked.folder / f"closed-{requests}"
    return [
        perdure(asked.perdure, ("--workload", workload, "--on", "h200/llama-3.1-8b")),
        aisimulate(asked.aisimulate, folder, {"traffic": traffic, "engine": engine(LLAMA, replicas=1)}),
        sr_sim(
            asked.sr_sim,
            folder / "sr",
            requests=requests,
            prompt_tokens=2048,
            output_tokens=128,
            rate=CLOSED_LOOP_RATE,
        ),
    ]


def mooncake(asked: Asked) -> list[Contender]:
    """An hour of conversations on eight replicas: routed by KV, and round robin for the stack that cannot."""
    trace = asked.shared / "traces" / "mooncake" / "conversation_trace.jsonl"
    source = {"type": "trace", "format": "mooncake", "block_size": 512, "paths": [str(trace.resolve())]}
    traffic = {"source": source, "load": {"type": "trace_timestamps"}}
    config = {"traffic": traffic, "engine": engine(LLAMA, replicas=8)}
    routed = {**config, "router": {"policy": "kv_router"}}
    folder = asked.folder / "mooncake"
    ours = (
        "--workload",
        str(trace),
        "--on",
        "h200x8/llama-3.1-8b:tp=1,replicas=8",
        "--place",
        "prefix_affinity",
    )
    return [
        perdure(asked.perdure, ours),
        aisimulate(asked.dynamo, folder / "kv", routed, stack="dynamo"),
        aisimulate(
            asked.aisimulate,
            folder / "round-robin",
            config,
            note="round robin: routes by KV only with Dynamo",
        ),
    ]


def coding_agents(asked: Asked) -> list[Contender]:
    """355 real coding-agent sessions on four replicas of two H200, all begun at once as in the files."""
    archive = asked.shared / "traces" / "coding-agent-sessions.tar.xz"
    folder = asked.folder / "agents"
    sessions, parquet = folder / "sessions", folder / "sessions.parquet"
    source = {"type": "trace", "format": "weka", "paths": [str(sessions.resolve())]}
    traffic = {"source": source, "load": {"type": "trace_timestamps"}}
    model = engine(QWEN, replicas=4, tensor=2, context_length=LONG_WINDOW_TOKENS)
    long_model = folder / "qwen3-32b-long" / "config.json"
    on = f"h200x8/{long_model.resolve()}:tp=2,replicas=4,precision=fp8,kv=fp8"
    config = {"traffic": traffic, "engine": model}

    def unpack() -> str:
        return f"import inside; {write_declared(archive, sessions)} sessions repaired, or it refuses all"

    return [
        perdure(
            asked.perdure,
            ("--workload", str(parquet), "--on", on, "--place", "prefix_affinity"),
            prepare=lambda: import_sessions(asked.perdure, archive, parquet, long_model),
        ),
        aisimulate(
            asked.dynamo,
            folder / "kv",
            {**config, "router": {"policy": "kv_router"}},
            stack="dynamo",
            unpack=unpack,
        ),
        aisimulate(asked.aisimulate, folder / "round-robin", config, note="round robin", unpack=unpack),
    ]


def import_sessions(program: str, archive: Path, parquet: Path, long_model: Path) -> Prepared:
    """Our Parquet of the sessions, by a command of its own, and the model with a window that holds them."""
    parquet.parent.mkdir(parents=True, exist_ok=True)
    write_json(long_model, QWEN_LONG)
    words = (program, "trace", "import", str(archive), "--to", str(parquet))
    ended = run_command(words, limit_s=IMPORT_S_MAX)
    if ended.exit_code != 0:
        return Prepared(failure=ended.complaint)
    return Prepared(note=f"imported before in {ended.wall_s:.1f} s")


def fleet(asked: Asked) -> list[Contender]:
    """35 hours of 10,000 programs on one rack; no peer knows the rack or fits the load."""
    return [perdure(asked.perdure, ("--workload", agents(10_000), "--on", "al128/qwen3.5-397b"))]


def agents(programs: int) -> str:
    """Generated coding agents, 10,000 in 35 hours and others at that rate: load does not grow with size."""
    return f"agents:programs={programs},hours={35 * programs / 10_000:g},seed=1"


CASES = (
    Case(
        letter="a",
        title="10,000 requests 2048/128, closed loop 64, Llama-3.1-8B on one H200",
        targets=(at_most("wall_s", 0.6),),
        contenders=lambda asked: closed_loop(10_000, asked),
    ),
    Case(
        letter="b",
        title="100,000 of them",
        targets=(at_most("wall_s", 1.0), at_most("kernel_s", 0.2)),
        contenders=lambda asked: closed_loop(100_000, asked),
    ),
    Case(
        letter="c",
        title="Mooncake conversation, 12,031 requests, Llama-3.1-8B on 8 H200, routed by KV",
        needs=("traces/mooncake/conversation_trace.jsonl",),
        targets=(at_most("cpu_s", 0.8),),
        contenders=mooncake,
    ),
    Case(
        letter="d",
        title="355 real coding-agent sessions, Qwen3-32B FP8 on 8 H200",
        needs=("traces/coding-agent-sessions.tar.xz",),
        targets=(at_most("wall_s", 2.0), at_least("calls_per_kernel_s", 20_000)),
        contenders=coding_agents,
    ),
    Case(
        letter="e",
        title="10,000 agent programs in 35 hours, Qwen3.5-397B on one AL128",
        targets=(at_least("calls_per_kernel_s", 25_000), at_most("peak_rss_bytes", 4 * GIB)),
        contenders=fleet,
    ),
)
