"""How long a first token takes in a measured closed-loop run, by simulating that run step by step.

What the rows do not say of a server is taken from the defaults of its stack. Beyond the engine's steps a
client waits for what lies before and behind them (the HTTP server, the tokenizer, how many tokens are
streamed at once): that is fitted for each stack, to rows of the fit split alone.
"""

import statistics
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from perdure.errors import CatalogBroken, PerdureError
from perdure.models.batch import Batch, Decode
from perdure.models.cost import Instance
from perdure.models.cost_compiled import Floats, Integers, arrays_of
from perdure.models.cost_sample import Sample
from perdure.models.cost_table import CostTable, Limits
from perdure.rng import seeded
from perdure.silicon.calibration_software import software_of
from perdure.twin.closed_loop_compiled import Replica, closed_loop
from perdure.twin.validate_launch import launch_of
from perdure.twin.validate_predict import instance_of
from perdure.twin.validate_rows import Layout, Row

PATH = Path(__file__).parent / "front.toml"
SETTINGS_PATH = Path(__file__).parent / "inferencex.toml"
STEP_TOKENS = 8192  # default of all three stacks on chips of 80 GB and more
MANY_CLIENTS = 16  # from which on InferenceX sets servers otherwise
SEQUENCES_MAX = 1024
WAVES = 10  # requests of each client: what InferenceX sends
LENGTHS_FROM = 0.8  # of the nominal one, where lengths are drawn
BETWEEN_S = 2e-3  # from an answer to the next request
CONTEXT_TOKENS_MAX = 16_384
TOKENS_PROBED = 1024
# Before vLLM 0.14 a step was scheduled once the one before it had ended.
_ONE_AFTER_ANOTHER = ("vllm-2025",)
_ONE_FEWER = "h100_sxm"


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """What a client waits beyond the engine's steps: `wait_s`, and as long as `wait_steps` tokens take."""

    wait_s: float
    wait_steps: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """How a server was started: fields as in `inferencex.toml`; the defaults of its stack."""

    chunk_tokens: int = STEP_TOKENS
    receive_steps: int = 1
    stream_tokens: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Waited:
    """Means over a simulated run: `engine_s` from sending until the engine lets go of the first token."""

    engine_s: float
    tpot_s: float

    def ttft_s(self, front: Front) -> float:
        """What the client sees."""
        return self.engine_s + front.wait_s + front.wait_steps * self.tpot_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Rows of one model under one stack: how many, the median error, and the median with its sign."""

    model: str
    backend: str
    rows: int
    median_ape: float
    bias: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TtftScore:
    """What the twin makes of the first tokens of `rows` runs; settings: how many of them are distinct."""

    rows: int
    computed: int
    settings: int
    median_ape: float
    mean_of_group_medians: float
    groups: tuple[Group, ...]


@cache
def fronts(path: Path = PATH) -> Mapping[str, Front]:
    """By generation of software."""
    found: dict[str, Front] = {}
    for name, row in tomllib.loads(path.read_text(encoding="utf-8")).items():
        if set(row) != {"wait_ms", "wait_steps"}:
            raise CatalogBroken(f"{path.name}: {name}: needs exactly wait_ms and wait_steps")
        found[name] = Front(wait_s=row["wait_ms"] * 1e-3, wait_steps=row["wait_steps"])
    return found


def front_of(row: Row) -> Front:
    """That of its generation, or where none was fitted to it, of its stack."""
    return fronts().get(row.generation) or fronts()[row.backend]


@cache
def settings(path: Path = SETTINGS_PATH) -> Mapping[str, Mapping[str, Any]]:
    """What is published of servers, by `model/precision/system`."""
    found = tomllib.loads(path.read_text(encoding="utf-8"))
    for name, row in found.items():
        if set(row) != {"chunk_tokens", "receive_steps", "stream_tokens"}:
            raise CatalogBroken(f"{path.name}: {name}: needs chunk_tokens, receive_steps and stream_tokens")
    return found


def setting_of(row: Row) -> Setting:
    """How the server of `row` was set, as far as that is published."""
    known = settings().get(f"{row.model}/{row.precision}/{row.system}")
    if row.backend != "sglang" or not row.lengths_vary or known is None:
        return Setting()
    few, many = known["receive_steps"]
    return Setting(
        chunk_tokens=known["chunk_tokens"],
        receive_steps=many if row.concurrency >= MANY_CLIENTS else few,
        stream_tokens=known["stream_tokens"],
    )


def usable(rows: Iterable[Row]) -> list[Row]:
    """Those whose TTFT can be simulated: complete, and of one server that does both phases."""
    return [row for row in rows if row.lacks is None and row.ttft_s > 0 and not row.disaggregated]


def simulate_row(row: Row) -> Waited:
    """The run of `row`. Raises BadRequest for a layout that no engine would run.

    InferenceX sends all clients' first requests at once, and counts them. NVIDIA's own runs count what comes
    later, by when clients are out of step (but those of SGLang, whose decodes wait for prompts). On H100 they
    serve one client fewer than there are, so that TTFT grows by an answer's time over the number of clients:
    177 rows of the fit split show it; those on H200, of another campaign, do not.
    """
    clients = max(1, round(row.concurrency / row.replicas))
    own = not row.lengths_vary
    prompts, answers = _lengths(row, clients)
    served = max(1, clients - 1) if own and row.system == _ONE_FEWER else SEQUENCES_MAX
    setting = setting_of(row)
    done = closed_loop(_replica(row, setting, served), clients, prompts, answers, BETWEEN_S)
    first = clients if own and len(prompts) > clients else 0
    ttft_s: Floats = (done.first_s - done.sent_s)[first:]
    tpot_s: Floats = (done.ended_s - done.first_s) / np.maximum(1, answers - 1)
    each_s = float(tpot_s.mean())
    return Waited(engine_s=float(ttft_s.mean()) + (setting.stream_tokens - 1) * each_s, tpot_s=each_s)


def score_ttft(rows: Sequence[Row]) -> TtftScore:
    """Score the twin's TTFT on `rows`; a row that cannot be simulated is not computed."""
    errors: dict[tuple[str, str], list[float]] = defaultdict(list)
    settings: set[tuple[object, ...]] = set()
    chosen = usable(rows)
    waited: dict[tuple[object, ...], Waited] = {}
    for row in chosen:
        key = (*row.setting, row.generation, row.lengths_vary)
        if key not in waited:
            try:
                waited[key] = simulate_row(row)
            except PerdureError:
                continue
        settings.add(key)
        errors[row.model, row.backend].append(waited[key].ttft_s(front_of(row)) / row.ttft_s - 1)
    groups = tuple(_group(*key, found) for key, found in sorted(errors.items()))
    every = [abs(error) for found in errors.values() for error in found]
    return TtftScore(
        rows=len(chosen),
        computed=len(every),
        settings=len(settings),
        median_ape=statistics.median(every),
        mean_of_group_medians=statistics.mean(group.median_ape for group in groups),
        groups=groups,
    )


def _group(model: str, backend: str, errors: list[float]) -> Group:
    return Group(
        model=model,
        backend=backend,
        rows=len(errors),
        median_ape=statistics.median(map(abs, errors)),
        bias=statistics.median(errors),
    )


def _lengths(row: Row, clients: int) -> tuple[Integers, Integers]:
    """Tokens of each prompt and answer. Clients out of step: the first answers end one after another."""
    total = clients * WAVES
    if row.lengths_vary:
        rng = seeded(1, "lengths of requests")
        drawn = [(rng.uniform(LENGTHS_FROM, 1.0), rng.uniform(LENGTHS_FROM, 1.0)) for _ in range(total)]
        prompts = [max(1, round(row.input_tokens * share)) for share, _ in drawn]
        answers = [max(1, round(row.output_tokens * share)) for _, share in drawn]
        return np.array(prompts), np.array(answers)
    answers = np.full(total, row.output_tokens)
    if not (row.backend == "sglang" and row.in_step):
        answers[:clients] = np.maximum(1, (np.arange(clients) + 1) * row.output_tokens // clients)
    return np.full(total, row.input_tokens), answers


def _replica(row: Row, setting: Setting, served: int) -> Replica:
    instance, table = _priced(
        row.model,
        row.precision,
        row.system,
        row.backend,
        row.layout,
        row.generation,
        launch_of(row).kv,
        setting.chunk_tokens,
    )
    return Replica(
        table=arrays_of(table),
        every=np.array([float(span.every_tokens) for span in table.spans]),
        limits=np.array(
            [np.inf if span.limit_entries is None else span.limit_entries for span in table.spans]
        ),
        ranks=table.ranks,
        step_tokens_max=setting.chunk_tokens,
        room_tokens=_room_tokens(instance),
        sequences_max=served,
        mixed=row.backend != "sglang",
        chunked=row.backend != "trtllm",
        overlapped=row.generation not in _ONE_AFTER_ANOTHER,
        receive_steps=setting.receive_steps,
        prefill_times=software_of(row.generation).prefill_times,
    )


@cache
def _priced(
    model: str,
    precision: str,
    system: str,
    backend: str,
    layout: Layout,
    generation: str,
    kv: str,
    tokens: int,
) -> tuple[Instance, CostTable]:
    instance = instance_of(model, precision, system, backend, layout, generation, kv)
    limits = Limits(tokens=tokens, sequences=SEQUENCES_MAX, context_tokens=CONTEXT_TOKENS_MAX)
    return instance, Sample(instance, limits).table()


def _room_tokens(instance: Instance) -> float:
    """Tokens of KV for which the replica's memory has room."""
    ranks = instance.lowering.parallel.dp
    one, two = (
        instance.memory(
            Batch(decodes=(Decode(context_tokens=TOKENS_PROBED * times, count=ranks),))
        ).free_bytes
        for times in (1, 2)
    )
    each_bytes = (one - two) / TOKENS_PROBED
    return (one / each_bytes + TOKENS_PROBED) * ranks if each_bytes > 0 else np.inf
