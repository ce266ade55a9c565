"""Which kernels prefills run that depend on their contexts, and how far short of its floor each falls.

Their floors are computed where they are needed, because prompts of one batch may differ widely; here is what
a floor is made of, and the factors at a grid of prompts, tokens and cached tokens.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from perdure.models.batch import Prefill, Seen
from perdure.models.cost import Instance
from perdure.models.cost_table import PROMPTS, Limits, PrefillKernel
from perdure.models.operations_attention import Tokens
from perdure.silicon.efficiency import Factor, Roofline
from perdure.silicon.price import Machine
from perdure.silicon.roofline import Operation
from perdure.silicon.shapes import Attention, Recurrence
from perdure.silicon.table import Grid, Surface, surface_through

# Knots in each octave of tokens and of cached tokens: kernels turn from memory to compute at some of tokens.
CHUNK, CACHED = 16, 1

Lowered = Callable[[Prefill, int], Iterable[Operation]]
Factors = list[list[Factor]]  # over tokens of one prompt, over cached tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledKernel:
    """One kernel and its factors, one grid for each of `PROMPTS`; none where nothing is calibrated."""

    operation: Operation
    first: Factor
    factors: list[Factors]
    chunk: Grid
    cached: Grid

    def on(self, machine: Machine) -> PrefillKernel:
        """What a unit of each sum takes on `machine`, all layers together."""
        chip, repeats, shape = machine.chip, self.operation.repeats, self.operation.shape
        assert isinstance(shape, Attention | Recurrence), "only these see contexts"
        luck = machine.draw.luck(self.first.chance) if self.first.chance else None
        added = self.first.launch_s
        launch_s = chip.launch_s * self.operation.launches if added is None else added.at(luck)
        return PrefillKernel(
            compute_s=repeats * shape.work_flops / chip.peak_flops_per_s(shape.arithmetic),
            kept_s=repeats * shape.kept_bytes / chip.memory_bytes_per_s,
            token_s=repeats * shape.token_bytes / chip.memory_bytes_per_s,
            launch_s=repeats * launch_s,
            times=self._times(machine) if self.factors else None,
        )

    def _times(self, machine: Machine) -> tuple[Surface, ...]:
        lucks = {chance: machine.draw.luck(chance) for chance in self._chances}

        def times(factor: Factor) -> float:
            return factor.times.at(lucks.get(factor.chance))

        return tuple(
            surface_through(self.chunk, self.cached, [[times(factor) for factor in row] for row in rows])
            for rows in self.factors
        )

    @property
    def _chances(self) -> set[str]:
        return {factor.chance for rows in self.factors for row in rows for factor in row if factor.chance}


class PrefillSample:
    """The kernels of one instance's prefills."""

    def __init__(self, instance: Instance, limits: Limits) -> None:
        self._instance = instance
        self._lowering = instance.lowering
        self._chunk = Grid(CHUNK, limits.tokens)
        self._cached = Grid(CACHED, limits.context_tokens)
        self.sights = [self._sampled(self._sight(number)) for number in range(len(self._lowering.spans))]
        self.recurrences = self._sampled(self._recurrence)

    def _sight(self, number: int) -> Lowered:
        """What looks through one span."""
        span = self._lowering.spans[number]

        def lowered(one: Prefill, prompts: int) -> Iterable[Operation]:
            seen = Seen(prefill_pairs=prompts * span.pairs(one), prefill_read=prompts * span.read(one))
            tokens = Tokens(prompts, prompts * one.new_tokens)
            return self._lowering.of_sight(number, "prefill", tokens, seen)

        return lowered

    def _recurrence(self, one: Prefill, prompts: int) -> Iterable[Operation]:
        return self._lowering.of_prefills(Tokens(prompts, prompts * one.new_tokens))

    def _sampled(self, lowered: Lowered) -> list[SampledKernel]:
        """Each kernel that `lowered` gives, equal ones of several groups of layers together."""
        once = list(lowered(Prefill(new_tokens=1), 1))
        places = {operation.shape: place for place, operation in reversed(list(enumerate(once)))}
        return [
            SampledKernel(
                operation=replace(
                    once[place],
                    repeats=sum(operation.repeats for operation in once if operation.shape == shape),
                ),
                first=self._factor(once[place]),
                factors=self._factors(lowered, place),
                chunk=self._chunk,
                cached=self._cached,
            )
            for shape, place in places.items()
        ]

    def _factors(self, lowered: Lowered, place: int) -> list[Factors]:
        if isinstance(self._instance.efficiency, Roofline):
            return []

        def factor(prompts: int, tokens: float, cached: float) -> Factor:
            one = Prefill(new_tokens=max(1, int(tokens)), cached_tokens=int(cached))
            return self._factor(list(lowered(one, prompts))[place])

        return [
            [
                [factor(prompts, tokens, cached) for cached in self._cached.knots]
                for tokens in self._chunk.knots
            ]
            for prompts in PROMPTS
        ]

    def _factor(self, operation: Operation) -> Factor:
        return self._instance.efficiency.factor(operation.shape, self._instance.hardware.mid.chip)
