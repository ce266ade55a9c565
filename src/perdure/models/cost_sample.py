"""Where the table of an instance is sampled, and what it is in each draw of the guesses.

Operations are lowered and rated once; pricing them for a draw is then quick, so that 64 draws take little
more than one.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property

from perdure.models.batch import Batch, Decode, Prefill, Seen
from perdure.models.cost import Instance
from perdure.models.cost_table import AS_ALONE, CostTable, Limits
from perdure.models.operations_attention import Tokens
from perdure.silicon.price import Machine, Rating, rate
from perdure.silicon.ranges import DRAWS, Draw
from perdure.silicon.roofline import Operation
from perdure.silicon.table import Curve, Grid, curve_through, surface_through

# Knots in each octave. They are close where kernels turn: products grow by tiles of 16 tokens, at which they
# were timed up to 2,048; attention goes over from one part of the chip to another at some cached length.
TOKENS, NEW, CACHED, SEQUENCES, CONTEXT = 64, 8, 8, 4, 8

BESIDE_TOKENS = 1024.0  # of a context for which decodes beside prompts are compared with those alone

# Any batch in which every kind of operation takes part: what it rests on, the table rests on.
_ANY = Batch(prefills=(Prefill(new_tokens=1),), decodes=(Decode(context_tokens=1),))


class Sample:
    """The operations of one instance at all knots of a table."""

    def __init__(self, instance: Instance, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._instance = instance
        self._lowering = instance.lowering
        ranks = instance.lowering.parallel.dp
        self._tokens = Grid(TOKENS, self.limits.tokens)
        self._all_tokens = Grid(TOKENS, self.limits.tokens * ranks)
        self._sequences = Grid(SEQUENCES, self.limits.sequences)
        self._context = Grid(CONTEXT, self.limits.context_tokens)
        self._new = Grid(NEW, self.limits.tokens)
        self._cached = Grid(CACHED, self.limits.context_tokens)

    def table(self, machine: Machine | None = None) -> CostTable:
        """The table on `machine`; by default with every guess at its mid."""
        there = machine or self._instance.hardware.mid
        return CostTable(
            limits=self.limits,
            spans=self._lowering.spans,
            ranks=self._lowering.parallel.dp,
            software_s=self._software_s(there.draw),
            by_tokens=_curve(self._tokens, self._by_tokens, there),
            by_all_tokens=_curve(self._all_tokens, self._by_all_tokens, there),
            by_head_rows=_curve(self._tokens, self._by_head_rows, there),
            by_decodes=_curve(self._sequences, self._by_decodes, there),
            by_prompt_tokens=_curve(self._context, self._by_prompt_tokens, there),
            decode_sight=tuple(
                surface_through(
                    self._sequences,
                    self._context,
                    [[rating.kernel_seconds(there) for rating in row] for row in rows],
                )
                for rows in self._decode_sights
            ),
            prompt_s=surface_through(self._new, self._cached, self._prompt_values(there)),
            beside_prompts=curve_through(
                self._sequences,
                [_seconds(beside, there) / _seconds(alone, there) for alone, beside in self._beside],
            )
            if self._lowering.spans
            else AS_ALONE,
        )

    def tables(self, draws: int = DRAWS) -> tuple[CostTable, ...]:
        """The table in each of the first `draws` of the guesses it rests on; none if nothing is guessed."""
        rated = self._rate(self._lowering.operations(self._lowering.sums(_ANY)))
        return tuple(self.table(machine) for machine in self._instance.machines(rated)[:draws])

    def _software_s(self, draw: Draw) -> float:
        return self._rate(()).software(draw).software_s

    def _rate(self, operations: Iterable[Operation]) -> Rating:
        return rate(operations, self._instance.hardware.mid.chip, self._instance.calibration)

    @cached_property
    def _by_tokens(self) -> list[Rating]:
        return [self._rate(self._lowering.of_tokens(tokens)) for tokens in _some(self._tokens)]

    @cached_property
    def _by_all_tokens(self) -> list[Rating]:
        return [self._rate(self._lowering.of_all_tokens(tokens)) for tokens in _some(self._all_tokens)]

    @cached_property
    def _by_head_rows(self) -> list[Rating]:
        return [self._rate(self._lowering.of_head_rows(rows)) for rows in _some(self._tokens)]

    @cached_property
    def _by_decodes(self) -> list[Rating]:
        return [
            self._rate(self._lowering.of_decodes(self._decoding(count), self.limits.draft_tokens))
            for count in _some(self._sequences)
        ]

    @cached_property
    def _by_prompt_tokens(self) -> list[Rating]:
        return [self._rate(self._lowering.of_prompt_tokens(tokens)) for tokens in _some(self._context)]

    @cached_property
    def _decode_sights(self) -> list[list[list[Rating]]]:
        """For each span, over sequences, over what one of them reads."""
        return [
            [
                [self._decode_sight(number, count, entries) for entries in _some(self._context)]
                for count in _some(self._sequences)
            ]
            for number in range(len(self._lowering.spans))
        ]

    @cached_property
    def _beside(self) -> list[tuple[list[Rating], list[Rating]]]:
        """Over sequences, all spans of decodes in a step without prompts, and in one with prompts."""
        spans = range(len(self._lowering.spans))
        return [
            (
                [self._decode_sight(number, count, BESIDE_TOKENS) for number in spans],
                [self._decode_sight(number, count, BESIDE_TOKENS, beside_prompt=True) for number in spans],
            )
            for count in _some(self._sequences)
        ]

    def _decode_sight(
        self, number: int, count: float, entries: float, *, beside_prompt: bool = False
    ) -> Rating:
        tokens = self._decoding(count)
        seen = Seen(pairs=entries * tokens.new_tokens, read=entries * count)
        drafts = self.limits.draft_tokens
        return self._rate(self._lowering.of_sight(number, tokens, seen, drafts, beside_prompt=beside_prompt))

    def _decoding(self, count: float) -> Tokens:
        return Tokens(count, count * (1 + self.limits.draft_tokens))

    @cached_property
    def _prompts(self) -> list[list[tuple[Prefill, Rating]]]:
        """Over new tokens, over cached tokens."""
        return [
            [
                (prefill, self._rate(self._lowering.of_prompt(prefill)))
                for prefill in (
                    Prefill(new_tokens=int(new), cached_tokens=int(cached)) for cached in self._cached.knots
                )
            ]
            for new in _some(self._new)
        ]

    def _prompt_values(self, machine: Machine) -> list[list[float]]:
        return [
            [rating.kernel_seconds(machine) / prefill.new_tokens for prefill, rating in row]
            for row in self._prompts
        ]


def _some(grid: Grid) -> list[float]:
    """Its knots, with one for zero: there is no kernel for nothing, and nobody asks for less than one."""
    return [max(1.0, knot) for knot in grid.knots]


def _seconds(ratings: Iterable[Rating], machine: Machine) -> float:
    return sum(rating.kernel_seconds(machine) for rating in ratings)


def _curve(grid: Grid, ratings: Sequence[Rating], machine: Machine) -> Curve:
    return curve_through(grid, [rating.kernel_seconds(machine) for rating in ratings])
