"""The same table for code compiled by numba: any batch, and whole runs of decode steps at once.

A batch is a vector of its sums (`vector_of`); a table is a tuple of arrays (`arrays_of`). The functions
here may be called from other compiled code. Importing this module imports numba, which a server must not.
"""

import math
from typing import Any, NamedTuple, cast

import numpy as np
from numba import njit  # pyright: ignore[reportUnknownVariableType]
from numpy.typing import NDArray

from perdure.models.batch import Sums
from perdure.models.cost_table import CostTable
from perdure.silicon.table import Curve, Grid, Surface

Floats = NDArray[np.float64]

# Where a vector of sums has what; after these, what decodes read in each span.
TOKENS, ALL_TOKENS, HEAD_ROWS, PROMPT_TOKENS, PROMPTS_S, SEQUENCES, READS = range(7)

compiled = cast(Any, njit)(cache=True, nogil=True)


class Lookup(NamedTuple):
    """A grid: whole numbers below `dense`, then `per_octave`; `last` is its last cell."""

    dense: int
    offset: int
    per_octave: int
    last: int
    knots: Floats


class Line(NamedTuple):
    """A curve: base and slope of each cell."""

    grid: Lookup
    base: Floats
    slope: Floats


class CompiledTable(NamedTuple):
    """A `CostTable` as arrays.

    decode   [span, cell of (sequences, context), (base, across, along, both)]
    prompts  [cell of (new, cached), (base, across, along, both)]
    """

    software_s: float
    by_tokens: Line
    by_all_tokens: Line
    by_head_rows: Line
    by_decodes: Line
    by_prompt_tokens: Line
    sequences: Lookup
    context: Lookup
    decode: Floats
    new: Lookup
    cached: Lookup
    prompts: Floats


def arrays_of(table: CostTable) -> CompiledTable:
    """`table` for compiled code."""
    sights = [_cells(surface) for surface in table.decode_sight]
    return CompiledTable(
        software_s=table.software_s,
        by_tokens=_line(table.by_tokens),
        by_all_tokens=_line(table.by_all_tokens),
        by_head_rows=_line(table.by_head_rows),
        by_decodes=_line(table.by_decodes),
        by_prompt_tokens=_line(table.by_prompt_tokens),
        sequences=_lookup(table.by_decodes.grid),
        context=_lookup(table.by_prompt_tokens.grid),
        decode=np.stack(sights) if sights else np.zeros((0, 0, 4)),
        new=_lookup(table.prompt_s.first),
        cached=_lookup(table.prompt_s.second),
        prompts=_cells(table.prompt_s),
    )


def vector_of(sums: Sums, table: CostTable) -> Floats:
    """A batch's sums for compiled code; what its prompts do by themselves is in it as seconds."""
    vector = np.zeros(READS + len(sums.seen))
    vector[TOKENS] = sums.tokens
    vector[ALL_TOKENS] = sums.all_tokens
    vector[HEAD_ROWS] = sums.head_rows
    vector[PROMPT_TOKENS] = sums.prompt_tokens
    vector[PROMPTS_S] = table.prompts_seconds(sums) if sums.prefills else 0.0
    vector[SEQUENCES] = sums.decode_sequences
    vector[READS:] = [seen.read for seen in sums.seen]
    return vector


@compiled
def cell_of(grid: Lookup, number: float) -> int:
    """Which cell `number` lies in."""
    if number < grid.dense:
        return int(number)
    mantissa, exponent = math.frexp(number)
    return min(grid.offset + exponent * grid.per_octave + int(mantissa * grid.dense), grid.last)


@compiled
def line_at(line: Line, number: float) -> float:
    """The cost at `number`."""
    cell = cell_of(line.grid, number)
    return float(line.base[cell] + line.slope[cell] * number)


@compiled
def fitting_steps(first_s: float, rise_s: float, length: int, budget_s: float) -> int:
    """How many of `length` steps, each `rise_s` longer than the one before, fit into `budget_s`."""
    if length * first_s + rise_s * length * (length - 1) / 2.0 <= budget_s:
        return length
    if first_s > budget_s:
        return 0
    fitting = math.floor(budget_s / first_s)
    if rise_s > 0.0:
        half = first_s - rise_s / 2.0
        fitting = math.floor((math.sqrt(half * half + 2.0 * rise_s * budget_s) - half) / rise_s)
    fitting = min(max(fitting, 0), length)
    while fitting > 0 and fitting * first_s + rise_s * fitting * (fitting - 1) / 2.0 > budget_s:
        fitting -= 1
    return fitting


@compiled
def prompt_seconds(table: CompiledTable, new_tokens: float, cached_tokens: float) -> float:
    """What one prompt does by itself: to be added up over the prompts of a rank, into `PROMPTS_S`."""
    cell = cell_of(table.new, new_tokens) * (table.cached.last + 1) + cell_of(table.cached, cached_tokens)
    base, across, along, both = table.prompts[cell]
    each_s = base + across * new_tokens + (along + both * new_tokens) * cached_tokens
    return new_tokens * each_s


@compiled
def sight_line(table: CompiledTable, sums: Floats, span: int) -> tuple[float, float, float]:
    """What decodes spend in one span, how much more for each entry read, and entries until that changes."""
    count = sums[SEQUENCES]
    mean = sums[READS + span] / count
    cell = cell_of(table.context, mean)
    place = cell_of(table.sequences, count) * (table.context.last + 1) + cell
    base, across, along, both = table.decode[span, place]
    part = along + both * count
    room = math.inf if cell == table.context.last else (table.context.knots[cell + 1] - mean) * count
    return base + across * count + part * mean, part / count, room


@compiled
def fixed_seconds(table: CompiledTable, sums: Floats) -> float:
    """What does not depend on the contexts of decodes."""
    total_s = table.software_s + line_at(table.by_tokens, sums[TOKENS])
    total_s += line_at(table.by_all_tokens, sums[ALL_TOKENS]) + line_at(table.by_head_rows, sums[HEAD_ROWS])
    if sums[PROMPT_TOKENS] > 0.0:
        total_s += line_at(table.by_prompt_tokens, sums[PROMPT_TOKENS]) + sums[PROMPTS_S]
    if sums[SEQUENCES] > 0.0:
        total_s += line_at(table.by_decodes, sums[SEQUENCES])
    return total_s


@compiled
def batch_seconds(table: CompiledTable, sums: Floats) -> float:
    """Seconds of a batch."""
    total_s = fixed_seconds(table, sums)
    if sums[SEQUENCES] > 0.0:
        for span in range(table.decode.shape[0]):
            total_s += sight_line(table, sums, span)[0]
    return total_s


@compiled
def decode_run(
    table: CompiledTable, sums: Floats, growth: Floats, steps_max: int, seconds_max: float
) -> tuple[int, float]:
    """How many whole steps of a decode batch fit into `seconds_max`, at most `steps_max`, and their seconds.

    `sums` are those of the first step, and are moved to those of the step after the last one that fits;
    `growth` is how much more each span's decodes read at every step: one for each sequence that still grows.
    """
    spans = table.decode.shape[0]
    fixed_s = fixed_seconds(table, sums)
    steps, spent_s = 0, 0.0
    while steps < steps_max:
        first_s, rise_s, length = fixed_s, 0.0, steps_max - steps
        for span in range(spans):
            value_s, slope_s, room = sight_line(table, sums, span)
            first_s += value_s
            if growth[span] > 0.0:
                rise_s += slope_s * growth[span]
                length = min(length, max(1, math.ceil(room / growth[span])))
        fitting = fitting_steps(first_s, rise_s, length, seconds_max - spent_s)
        spent_s += fitting * first_s + rise_s * fitting * (fitting - 1) / 2.0
        steps += fitting
        for span in range(spans):
            sums[READS + span] += growth[span] * fitting
        if fitting < length:
            break
    return steps, spent_s


def _cells(surface: Surface) -> Floats:
    return np.array([surface.base, surface.across, surface.along, surface.both]).T.copy()


def _line(curve: Curve) -> Line:
    return Line(grid=_lookup(curve.grid), base=np.array(curve.base), slope=np.array(curve.slope))


def _lookup(grid: Grid) -> Lookup:
    return Lookup(
        dense=grid.dense,
        offset=grid.offset,
        per_octave=grid.per_octave,
        last=grid.cells - 1,
        knots=np.array(grid.knots),
    )
