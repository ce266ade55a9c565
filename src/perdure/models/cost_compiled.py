"""The same table for code compiled by numba: any batch, and whole runs of decode steps at once.

A batch is a vector of its sums (`vector_of`); a table is a tuple of arrays (`arrays_of`). The functions
here may be called from other compiled code. Importing this module imports numba, which a server must not.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from perdure.compiling import compiled
from perdure.models.batch import Sums
from perdure.models.cost_table import CostTable
from perdure.silicon.table import Surface

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# Where a vector of sums has what; after these, what decodes read in each span.
TOKENS, ALL_TOKENS, HEAD_ROWS, PROMPT_TOKENS, PROMPTS_S, SEQUENCES, READS = range(7)
# Curves of a table, and after them the grids of its surfaces.
BY_TOKENS, BY_ALL_TOKENS, BY_HEAD_ROWS, BY_DECODES, BY_PROMPT_TOKENS, BESIDE_PROMPTS, LINES = range(7)
OF_SEQUENCES, OF_CONTEXT, OF_NEW, OF_CACHED = range(LINES, LINES + 4)
# Of a grid: where whole numbers end, how places are counted beyond, and the last cell.
DENSE, OFFSET, PER_OCTAVE, LAST = range(4)


class CompiledTable(NamedTuple):
    """A `CostTable` as arrays.

    grids    [curve or surface's grid, (dense, offset, per octave, last)]
    lines    [curve, cell, (base, slope)]
    decode   [span, cell of (sequences, context), (base, across, along, both)]
    prompts  [cell of (new, cached), (base, across, along, both)]
    context_knots  of what one decode reads
    """

    software_s: float
    grids: Integers
    lines: Floats
    decode: Floats
    prompts: Floats
    context_knots: Floats


def arrays_of(table: CostTable) -> CompiledTable:
    """`table` for compiled code."""
    curves = (
        table.by_tokens,
        table.by_all_tokens,
        table.by_head_rows,
        table.by_decodes,
        table.by_prompt_tokens,
        table.beside_prompts,
    )
    context = table.by_prompt_tokens.grid
    grids = [curve.grid for curve in curves]
    grids += [table.by_decodes.grid, context, table.prompt_s.first, table.prompt_s.second]
    lines = np.zeros((LINES, max(curve.grid.cells for curve in curves), 2))
    for number, curve in enumerate(curves):
        lines[number, : curve.grid.cells] = np.array([curve.base, curve.slope]).T
    sights = [_cells(surface) for surface in table.decode_sight]
    return CompiledTable(
        software_s=table.software_s,
        grids=np.array([[grid.dense, grid.offset, grid.per_octave, grid.cells - 1] for grid in grids]),
        lines=lines,
        decode=np.stack(sights) if sights else np.zeros((0, 0, 4)),
        prompts=_cells(table.prompt_s),
        context_knots=np.array(context.knots),
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
def cell_of(grids: Integers, grid: int, number: float) -> int:
    """Which cell of a grid `number` lies in."""
    dense = grids[grid, DENSE]
    if number < dense:
        return int(number)
    mantissa, exponent = math.frexp(number)
    place = grids[grid, OFFSET] + exponent * grids[grid, PER_OCTAVE] + int(mantissa * dense)
    return min(place, grids[grid, LAST])


@compiled
def line_at(grids: Integers, lines: Floats, line: int, number: float) -> float:
    """What a curve comes to at `number`."""
    cell = cell_of(grids, line, number)
    return float(lines[line, cell, 0] + lines[line, cell, 1] * number)


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
    grids, prompts = table.grids, table.prompts
    row = cell_of(grids, np.int64(OF_NEW), float(new_tokens)) * (grids[OF_CACHED, LAST] + 1)
    cell = row + cell_of(grids, np.int64(OF_CACHED), float(cached_tokens))
    part = prompts[cell, 2] + prompts[cell, 3] * new_tokens
    return float(new_tokens * (prompts[cell, 0] + prompts[cell, 1] * new_tokens + part * cached_tokens))


@compiled
def sight_line(table: CompiledTable, sums: Floats, span: int) -> tuple[float, float, float]:
    """What decodes spend in one span, how much more for each entry read, and entries until that changes."""
    grids, decode, count = table.grids, table.decode, sums[SEQUENCES]
    mean = sums[READS + span] / count
    cell, last = cell_of(grids, np.int64(OF_CONTEXT), mean), grids[OF_CONTEXT, LAST]
    place = cell_of(grids, np.int64(OF_SEQUENCES), count) * (last + 1) + cell
    part = decode[span, place, 2] + decode[span, place, 3] * count
    seconds = decode[span, place, 0] + decode[span, place, 1] * count + part * mean
    room = math.inf if cell == last else (table.context_knots[cell + 1] - mean) * count
    return seconds, part / count, room


@compiled
def fixed_seconds(table: CompiledTable, sums: Floats) -> float:
    """What does not depend on the contexts of decodes."""
    grids, lines = table.grids, table.lines
    total_s = table.software_s + line_at(grids, lines, np.int64(BY_TOKENS), sums[TOKENS])
    total_s += line_at(grids, lines, np.int64(BY_ALL_TOKENS), sums[ALL_TOKENS])
    total_s += line_at(grids, lines, np.int64(BY_HEAD_ROWS), sums[HEAD_ROWS])
    if sums[PROMPT_TOKENS] > 0.0:
        total_s += line_at(grids, lines, np.int64(BY_PROMPT_TOKENS), sums[PROMPT_TOKENS]) + sums[PROMPTS_S]
    if sums[SEQUENCES] > 0.0:
        total_s += line_at(grids, lines, np.int64(BY_DECODES), sums[SEQUENCES])
    return total_s


@compiled
def batch_seconds(table: CompiledTable, sums: Floats) -> float:
    """Seconds of a batch."""
    total_s = fixed_seconds(table, sums)
    if sums[SEQUENCES] > 0.0:
        times = 1.0
        if sums[PROMPT_TOKENS] > 0.0:
            times = line_at(table.grids, table.lines, np.int64(BESIDE_PROMPTS), sums[SEQUENCES])
        for span in range(table.decode.shape[0]):
            total_s += times * sight_line(table, sums, span)[0]
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
