"""How far the twin's requests lie from those of measured vLLM runs: TTFT, TPOT and E2E.

Kernels come from profiles of the card alone. What software adds to a step is reported three ways: as shipped,
fitted to rows of other hardware; fitted to one card's run and judged on another's; and fitted to the run
itself, which shows what is left to the kernels and to the model of the scheduler.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from perdure.catalog.load import load_catalog
from perdure.errors import BadRequest
from perdure.models.batch import Batch, Decode, sums_of
from perdure.models.cost import Instance
from perdure.models.cost_sample import Sample
from perdure.models.cost_table import Limits
from perdure.rng import seeded
from perdure.silicon.calibration_profile import Profiled
from perdure.twin.deployment_text import parse_deployment
from perdure.twin.measured_run import MeasuredRun
from perdure.twin.reference import Call, EngineSettings, Replay, replay

CARDS = {"RTX4090": "rtx-4090", "RTXPRO6000": "rtx-pro-6000"}
METRICS = ("ttft_s", "tpot_s", "e2e_s")
SHARES = {"p50": 0.5, "p90": 0.9}
TARGET_APE = 0.10
BOOTSTRAPS = 400
CONFIDENCE = 0.95
# What software takes for each sequence of a step: what a fit chooses from.
SEQUENCE_US = (0, 5, 10, 15, 20, 25, 30)

Times = Mapping[str, Sequence[float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Overhead:
    """What software adds to a step: `step_s` whatever is in it, `sequence_s` for each of its sequences.

    fitted_to  the run that it was fitted to; None as shipped
    """

    step_s: float
    sequence_s: float
    fitted_to: str | None
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunScore:
    """One run under one overhead.

    measured  seconds, by metric and figure such as `ttft_s.p90`
    errors    the twin's over the measured ones, less 1
    p99       of the 99th percentile: the error, and where it lies in 95 % of resampled sets of the requests
    """

    run: str
    overhead: Overhead
    steps: int
    preemptions: int
    measured: Mapping[str, float]
    errors: Mapping[str, float]
    p99: Mapping[str, tuple[float, float, float]]

    @property
    def worst_ape(self) -> float:
        """The largest error of a mean, median or 90th percentile, without its sign."""
        return max(map(abs, self.errors.values()))

    @property
    def mean_ape(self) -> float:
        """Their mean."""
        return statistics.mean(map(abs, self.errors.values()))


class Judge:
    """One measured run, beside the twin of the server that it ran on."""

    def __init__(self, run: MeasuredRun) -> None:
        if run.card not in CARDS:
            raise BadRequest(f"{run.id}: no kernels of that card are known; known: {', '.join(CARDS)}")
        self.run = run

    @property
    def shipped(self) -> Overhead:
        """By the constants that `perdure cost` uses, fitted to rows of other hardware."""
        software = self._efficiency.software
        return Overhead(
            step_s=software.step_s, sequence_s=software.sequence_s, fitted_to=None, source=software.source
        )

    def fit(self) -> Overhead:
        """Seconds for each sequence under which the run comes out best.

        Of one run, whose batches are nearly all of one size, what a step takes and what each of its sequences
        takes cannot be told apart; what differs between servers is how many sequences there are.
        """
        name = self.run.id
        tried = [
            Overhead(step_s=0.0, sequence_s=us * 1e-6, fitted_to=name, source=f"fitted to {name}")
            for us in SEQUENCE_US
        ]
        return min(tried, key=lambda overhead: self.score(overhead).mean_ape)

    def score(self, overhead: Overhead) -> RunScore:
        """The run replayed under `overhead`."""
        done = self.replay(overhead)
        twin, measured = self._replayed(done), self._measured
        return RunScore(
            run=self.run.id,
            overhead=overhead,
            steps=len(done.steps),
            preemptions=sum(outcome.preemptions for outcome in done.outcomes),
            measured=_figures(measured),
            errors={name: figure / _figures(measured)[name] - 1 for name, figure in _figures(twin).items()},
            p99={metric: _p99(twin[metric], measured[metric]) for metric in METRICS},
        )

    def replay(self, overhead: Overhead) -> Replay:
        """The run's requests through the block-exact engine."""
        software = replace(self._efficiency.software, step_s=overhead.step_s, sequence_s=overhead.sequence_s)
        instance = replace(self._instance, efficiency=replace(self._efficiency, software=software))
        limits = Limits(tokens=self.run.batch_tokens_max, sequences=self.run.sequences_max)
        table = Sample(instance, limits).table()
        return replay(
            self._calls, self.settings, lambda batch: table.seconds(sums_of(batch, table.spans, table.ranks))
        )

    @cached_property
    def settings(self) -> EngineSettings:
        """Those of the run; where it does not say how many blocks there were, as many as have room."""
        return EngineSettings(
            kv_blocks=self.run.kv_blocks or self._blocks(),
            block_tokens=self.run.block_tokens,
            batch_tokens_max=self.run.batch_tokens_max,
            sequences_max=self.run.sequences_max,
        )

    @cached_property
    def _instance(self) -> Instance:
        return parse_deployment(f"{CARDS[self.run.card]}/{self.run.model.lower()}", load_catalog()).instance

    @property
    def _efficiency(self) -> Profiled:
        efficiency = self._instance.efficiency
        assert isinstance(efficiency, Profiled), "cards of measured runs are profiled"
        return efficiency

    def _blocks(self) -> int:
        one, two = (
            self._instance.memory(Batch(decodes=(Decode(context_tokens=self.run.block_tokens * count),)))
            for count in (1, 2)
        )
        return int(one.free_bytes / (two.needed_bytes - one.needed_bytes))

    @property
    def _calls(self) -> list[Call]:
        """Prompts share nothing: the run does not say what they were."""
        starts, calls = 0, list[Call]()
        for call in self.run.calls:
            tokens = call.prompt_tokens + call.output_tokens
            ids = range(starts, starts + tokens)
            calls.append(Call(ready_s=call.arrived_s, tokens=ids, prompt_tokens=call.prompt_tokens))
            starts += tokens
        return calls

    @cached_property
    def _measured(self) -> Times:
        return self._times([(call.first_token_s, call.ended_s) for call in self.run.calls])

    def _replayed(self, done: Replay) -> Times:
        ends: list[tuple[float, float]] = []
        for outcome in done.outcomes:
            assert outcome.first_token_s is not None, "every call of a replay is answered"
            assert outcome.ended_s is not None, "every call of a replay ends"
            ends.append((outcome.first_token_s, outcome.ended_s))
        return self._times(ends)

    def _times(self, ends: Sequence[tuple[float, float]]) -> Times:
        """TTFT and E2E from a request's arrival; TPOT over the tokens after the first."""
        pairs = list(zip(self.run.calls, ends, strict=True))
        return {
            "ttft_s": [first_s - call.arrived_s for call, (first_s, _) in pairs],
            "tpot_s": [
                (ended_s - first_s) / (call.output_tokens - 1)
                for call, (first_s, ended_s) in pairs
                if call.output_tokens > 1
            ],
            "e2e_s": [ended_s - call.arrived_s for call, (_, ended_s) in pairs],
        }


def score_runs(runs: Sequence[MeasuredRun]) -> list[RunScore]:
    """Each run as shipped, then under the fit to every run, its own among them."""
    judges = [Judge(run) for run in runs]
    overheads = [judge.fit() for judge in judges]
    return [judge.score(overhead) for judge in judges for overhead in (judge.shipped, *overheads)]


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of `values` lie, linear between neighbours."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def _figures(times: Times) -> dict[str, float]:
    found: dict[str, float] = {}
    for metric in METRICS:
        found[f"{metric}.mean"] = statistics.mean(times[metric])
        found |= {f"{metric}.{name}": quantile(times[metric], share) for name, share in SHARES.items()}
    return found


def _p99(twin: Sequence[float], measured: Sequence[float]) -> tuple[float, float, float]:
    """Low, value and high of the error of the 99th percentile, by resampling requests, the same in both."""

    def error(places: Sequence[int]) -> float:
        return (
            quantile([twin[place] for place in places], 0.99)
            / quantile([measured[place] for place in places], 0.99)
            - 1
        )

    rng = seeded(0, "bootstrap of measured requests")
    every = range(len(measured))
    errors = [error(rng.choices(every, k=len(measured))) for _ in range(BOOTSTRAPS)]
    beside = (1 - CONFIDENCE) / 2
    return quantile(errors, beside), error(every), quantile(errors, 1 - beside)
