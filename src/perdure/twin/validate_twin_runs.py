"""How far the twin's requests lie from those of measured vLLM runs: TTFT, TPOT and E2E.

Kernels come from profiles of the card alone. What software adds to a step is reported three ways: as shipped,
fitted to rows of other hardware; fitted to one card's run, from there, and judged on another's; and fitted to
the run itself, which shows what is left to the kernels and to the model of the scheduler.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from itertools import product

import numpy as np

from perdure.catalog.load import load_catalog
from perdure.errors import BadRequest
from perdure.models.batch import Batch, Decode, sums_of
from perdure.models.cost_compiled import arrays_of
from perdure.models.cost_sample import Sample
from perdure.models.cost_table import CostTable, Limits
from perdure.scheduling.policies import named
from perdure.silicon.calibration_profile import Profiled
from perdure.silicon.table import Curve
from perdure.traces.programs import Programs
from perdure.twin.deployment import Deployment
from perdure.twin.deployment_text import parse_deployment
from perdure.twin.measured_run import MeasuredRun
from perdure.twin.pool import Engine, Pool
from perdure.twin.pool_build import pool_of
from perdure.twin.reference import Call, EngineSettings, Replay, replay
from perdure.twin.simulate import Policies, simulate
from perdure.twin.validate_twin_figures import METRICS, Overhead, RunScore, Times, figures_of, p99_of
from perdure.twin.world import Options, lay_out

CARDS = {"RTX4090": "rtx-4090", "RTXPRO6000": "rtx-pro-6000"}
# What software takes for a step, and for each of its sequences: what a fit chooses from.
STEP_US = (0, 100, 200, 300, 400, 600, 800, 1000)
SEQUENCE_US = (0, 2.5, 5, 7.5, 10, 12.5, 15, 20, 25, 30)
# One run, whose batches are nearly all of one size, cannot tell the two apart, nor either of them from
# kernels that are a little off. So a fit starts from what is shipped: `FIGURE_ERROR` in one figure weighs as
# much as a change by what lies between the two generations of vLLM that were fitted to rows.
FIGURE_ERROR = 0.05
STEP_SPREAD_S, SEQUENCE_SPREAD_S = 400e-6, 5e-6
FIRST_COME = Policies(
    order=named("order", "fcfs"),
    place=named("place", "least_load"),
    admit=named("admit", "all"),
    retain=named("retain", "lru"),
)


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
        """The overhead that best explains the run, as near as may be to what is shipped."""
        name, shipped = self.run.id, self.shipped

        def unlikely(overhead: Overhead) -> float:
            off = sum(
                (error / FIGURE_ERROR) ** 2 for error in self.errors(self.simulate(overhead)[0]).values()
            )
            step = (overhead.step_s - shipped.step_s) / STEP_SPREAD_S
            sequence = (overhead.sequence_s - shipped.sequence_s) / SEQUENCE_SPREAD_S
            return off + step * step + sequence * sequence

        tried = [
            Overhead(
                step_s=step_us * 1e-6,
                sequence_s=sequence_us * 1e-6,
                fitted_to=name,
                source=f"fitted to {name}",
            )
            for step_us, sequence_us in product(STEP_US, SEQUENCE_US)
        ]
        return min(tried, key=unlikely)

    def score(self, overhead: Overhead) -> RunScore:
        """The run simulated under `overhead`."""
        twin, preemptions = self.simulate(overhead)
        return RunScore(
            run=self.run.id,
            overhead=overhead,
            preemptions=preemptions,
            measured=figures_of(self.measured),
            errors=self.errors(twin),
            p99={metric: p99_of(twin[metric], self.measured[metric]) for metric in METRICS},
        )

    def errors(self, twin: Times) -> dict[str, float]:
        """Of each mean, median and 90th percentile: the twin's over the measured one, less 1."""
        measured = figures_of(self.measured)
        return {name: figure / measured[name] - 1 for name, figure in figures_of(twin).items()}

    def simulate(self, overhead: Overhead) -> tuple[Times, int]:
        """The run's requests through the twin: their times, and how often one was set back."""
        table = arrays_of(self._table(overhead))
        pool = replace(self._pool, mid=replace(self._pool.mid, table=table))
        world = simulate(lay_out(self._programs, [pool]), FIRST_COME, Options())
        turns: list[tuple[float, float]] = world.turns[["first_s", "ended_s"]].tolist()
        preemptions: int = world.replicas["preemptions"].sum().item()
        return self._times(turns), preemptions

    def replay(self, overhead: Overhead) -> Times:
        """The same through the block-exact reference."""
        table = self._table(overhead)
        done = replay(
            self._calls, self.settings, lambda batch: table.seconds(sums_of(batch, table.spans, table.ranks))
        )
        return self._times(_ends(done))

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
    def _deployment(self) -> Deployment:
        return parse_deployment(f"{CARDS[self.run.card]}/{self.run.model.lower()}", load_catalog())

    @property
    def _efficiency(self) -> Profiled:
        efficiency = self._deployment.efficiency
        assert isinstance(efficiency, Profiled), "cards of measured runs are profiled"
        return efficiency

    @cached_property
    def _pool(self) -> Pool:
        engine = Engine(
            sequences_max=self.run.sequences_max,
            batch_tokens_max=self.run.batch_tokens_max,
            block_tokens=self.run.block_tokens,
        )
        pool = pool_of(self._deployment, name=self.run.id, replicas=1, engine=engine)
        # One block is the null block, which holds nothing.
        return replace(pool, kv_tokens=(self.settings.kv_blocks - 1) * self.run.block_tokens)

    def _table(self, overhead: Overhead) -> CostTable:
        """What steps take when software adds `overhead`: it does so with each row of the head."""
        head = self._kernels.by_head_rows
        slope = [each_s + overhead.sequence_s for each_s in head.slope]
        by_head_rows = Curve(grid=head.grid, base=head.base, slope=slope)
        return replace(self._kernels, software_s=overhead.step_s, by_head_rows=by_head_rows)

    @cached_property
    def _kernels(self) -> CostTable:
        """What steps take when software adds nothing."""
        efficiency = replace(
            self._efficiency, software=replace(self._efficiency.software, step_s=0.0, sequence_s=0.0)
        )
        limits = Limits(tokens=self.run.batch_tokens_max, sequences=self.run.sequences_max)
        return Sample(replace(self._deployment.instance, efficiency=efficiency), limits).table()

    def _blocks(self) -> int:
        one, two = (
            self._deployment.instance.memory(
                Batch(decodes=(Decode(context_tokens=self.run.block_tokens * count),))
            )
            for count in (1, 2)
        )
        return int(one.free_bytes / (two.needed_bytes - one.needed_bytes))

    @property
    def _programs(self) -> Programs:
        """Each request is a program of its own. The run does not say what prompts have in common: nothing."""
        calls = self.run.calls
        none, never = np.zeros(len(calls), dtype=np.int64), np.zeros(len(calls), dtype=np.bool_)
        return Programs(
            models=(self._deployment.model.short_id,),
            arrival_s=np.array([call.arrived_s for call in calls]),
            tenant=none,
            program=np.arange(len(calls)),
            model=none,
            forked=never,
            parent=none,
            fork_turn=none,
            joined=never,
            join_turn=none,
            prefixed=never,
            prefix_session=none,
            prefix_tokens=none,
            first_turn=np.arange(len(calls) + 1),
            kept_tokens=none,
            new_tokens=np.array([call.prompt_tokens for call in calls]),
            output_tokens=np.array([call.output_tokens for call in calls]),
            gap_s=np.zeros(len(calls)),
            tool=never,
            attempts=none + 1,
        )

    @property
    def _calls(self) -> list[Call]:
        starts, calls = 0, list[Call]()
        for call in self.run.calls:
            tokens = call.prompt_tokens + call.output_tokens
            ids = range(starts, starts + tokens)
            calls.append(Call(ready_s=call.arrived_s, tokens=ids, prompt_tokens=call.prompt_tokens))
            starts += tokens
        return calls

    @cached_property
    def measured(self) -> Times:
        """What was measured."""
        return self._times([(call.first_token_s, call.ended_s) for call in self.run.calls])

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


def _ends(done: Replay) -> list[tuple[float, float]]:
    ends: list[tuple[float, float]] = []
    for outcome in done.outcomes:
        assert outcome.first_token_s is not None, "every call of a replay is answered"
        assert outcome.ended_s is not None, "every call of a replay ends"
        ends.append((outcome.first_token_s, outcome.ended_s))
    return ends
