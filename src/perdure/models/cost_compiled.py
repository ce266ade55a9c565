"""The same table for code compiled by numba: any batch, and whole runs of decode steps at once.

A batch is a vector of its sums (`vector_of`); a table is a tuple of arrays (`arrays_of`). The functions
here may be called from other compiled code. Importing this module imports numba, which a server must not.
"""

import math
from typing import Any, NamedTuple, cast

import numpy as np
from numba import njit  # pyright: ignore[reportUnknownVariableType]
from numpy.typing import NDArray

from perdure.models.batch import Span, Sums
from perdure.models.cost_table import PROMPTS, CostTable, PrefillKernel
from perdure.silicon.table import Curve, Grid, Surface

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# Where a vector of sums has what; for each span, three more: pairs and reads of prefills, reads of decodes.
TOKENS, ALL_TOKENS, HEAD_ROWS, PROMPTS_NUMBER, PROMPT_TOKENS, SEQUENCES, SPANS = range(7)
PAIRS, READ, DECODE_READ, PER_SPAN = range(4)
NO_SPAN = -1  # in an array, of a kernel that looks through no span

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
    """A `CostTable` as arrays. Kernels of prefills have a row each, sights of decodes one for each span.

    decode   [span, cell, (base, across, along, both)]
    kernels  [kernel, (compute, kept, token, launch)]; kernel_spans: which span each looks through
    times    [kernel, prompts, cell, (base, across, along, both)]
    """

    software_s: float
    drafts: float
    by_tokens: Line
    by_all_tokens: Line
    by_head_rows: Line
    by_decodes: Line
    by_read_tokens: Line
    whole_span: int
    every_tokens: Floats
    sequences: Lookup
    context: Lookup
    decode: Floats
    kernels: Floats
    kernel_spans: Integers
    chunk: Lookup
    cached: Lookup
    times: Floats
    prompts: Floats


def arrays_of(table: CostTable) -> CompiledTable:
    """`table` for compiled code."""
    spans = table.spans
    kernels = [(NO_SPAN, kernel) for kernel in table.recurrences]
    kernels += [(number, kernel) for number, found in enumerate(table.prefill_sight) for kernel in found]
    grids = _grids(table, [kernel for _, kernel in kernels])
    return CompiledTable(
        software_s=table.software_s,
        drafts=float(table.limits.draft_tokens),
        by_tokens=_line(table.by_tokens),
        by_all_tokens=_line(table.by_all_tokens),
        by_head_rows=_line(table.by_head_rows),
        by_decodes=_line(table.by_decodes),
        by_read_tokens=_line(table.by_read_tokens),
        whole_span=spans.index(Span()) if Span() in spans else NO_SPAN,
        every_tokens=np.array([float(span.every_tokens) for span in spans]),
        sequences=_lookup(table.by_decodes.grid),
        context=_lookup(table.by_read_tokens.grid),
        decode=_stacked([_cells(surface) for surface in table.decode_sight], 3),
        kernels=np.array(
            [[kernel.compute_s, kernel.kept_s, kernel.token_s, kernel.launch_s] for _, kernel in kernels]
        ).reshape(len(kernels), 4),
        kernel_spans=np.array([number for number, _ in kernels], dtype=np.int64),
        chunk=_lookup(grids[0]),
        cached=_lookup(grids[1]),
        times=_stacked([_times(kernel, grids) for _, kernel in kernels], 4),
        prompts=np.array([float(number) for number in PROMPTS]),
    )


def vector_of(sums: Sums) -> Floats:
    """A batch's sums for compiled code."""
    vector = np.zeros(SPANS + PER_SPAN * len(sums.seen))
    vector[:SPANS] = (
        sums.tokens,
        sums.all_tokens,
        sums.head_rows,
        sums.prefill_sequences,
        sums.prefill_tokens,
        sums.decode_sequences,
    )
    for number, seen in enumerate(sums.seen):
        at = SPANS + PER_SPAN * number
        vector[at : at + PER_SPAN] = (seen.prefill_pairs, seen.prefill_read, seen.decode_read)
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
def times_at(table: CompiledTable, kernel: int, prompts: float, tokens: float, cached: float) -> float:
    """How many times its floor a kernel takes for so many prompts of so many tokens."""
    if table.times.shape[2] == 0:
        return 1.0
    last = table.prompts.shape[0] - 2
    low = 0
    while low < last and prompts >= table.prompts[low + 1]:
        low += 1
    near, far = table.prompts[low], table.prompts[low + 1]
    share = min(1.0, (prompts - near) / (far - near))
    cell = cell_of(table.chunk, tokens) * (table.cached.last + 1) + cell_of(table.cached, cached)
    times = 0.0
    for place, part in ((low, 1.0 - share), (low + 1, share)):
        base, across, along, both = table.times[kernel, place, cell]
        times += part * (base + across * tokens + (along + both * tokens) * cached)
    return times


@compiled
def prefill_seconds(table: CompiledTable, sums: Floats) -> float:
    """What prefills spend on their contexts and states."""
    prompts, tokens = sums[PROMPTS_NUMBER], sums[PROMPT_TOKENS]
    total_s = 0.0
    if table.whole_span != NO_SPAN:
        read = sums[SPANS + PER_SPAN * table.whole_span + READ]
        total_s += line_at(table.by_read_tokens, read)
    for kernel in range(table.kernels.shape[0]):
        span = table.kernel_spans[kernel]
        compute_s, kept_s, token_s, launch_s = table.kernels[kernel]
        work, kept, cached = tokens, prompts, 0.0
        if span != NO_SPAN:
            work, kept = sums[SPANS + PER_SPAN * span + PAIRS], sums[SPANS + PER_SPAN * span + READ]
            cached = max(0.0, work / tokens * table.every_tokens[span] - (tokens / prompts + 1.0) / 2.0)
        floor_s = max(compute_s * work, kept_s * kept + token_s * tokens)
        total_s += floor_s * times_at(table, kernel, prompts, tokens / prompts, cached) + launch_s
    return total_s


@compiled
def sight_line(table: CompiledTable, sums: Floats, span: int) -> tuple[float, float, float]:
    """What decodes spend in one span, how much more for each entry read, and entries until that changes."""
    count = sums[SEQUENCES]
    mean = sums[SPANS + PER_SPAN * span + DECODE_READ] / count
    cell = cell_of(table.context, mean)
    place = cell_of(table.sequences, count) * (table.context.last + 1) + cell
    base, across, along, both = table.decode[span, place]
    part = along + both * count
    room = math.inf if cell == table.context.last else (table.context.knots[cell + 1] - mean) * count
    return base + across * count + part * mean, part / count, room


@compiled
def matrix_seconds(table: CompiledTable, sums: Floats) -> float:
    """What does not depend on contexts, and the software between batches."""
    total_s = table.software_s + line_at(table.by_tokens, sums[TOKENS])
    total_s += line_at(table.by_all_tokens, sums[ALL_TOKENS]) + line_at(table.by_head_rows, sums[HEAD_ROWS])
    if sums[SEQUENCES] > 0.0:
        total_s += line_at(table.by_decodes, sums[SEQUENCES])
    return total_s


@compiled
def batch_seconds(table: CompiledTable, sums: Floats) -> float:
    """Seconds of a batch."""
    total_s = matrix_seconds(table, sums)
    if sums[SEQUENCES] > 0.0:
        spans = table.every_tokens.shape[0]
        for span in range(spans):
            total_s += sight_line(table, sums, span)[0]
    if sums[PROMPTS_NUMBER] > 0.0:
        total_s += prefill_seconds(table, sums)
    return total_s


@compiled
def decode_run(
    table: CompiledTable, sums: Floats, growth: Floats, steps_max: int, seconds_max: float
) -> tuple[int, float]:
    """How many whole steps of a decode batch fit into `seconds_max`, at most `steps_max`, and their seconds.

    `sums` are those of the first step, and are moved to those of the step after the last one that fits;
    `growth` is how much more each span's decodes read at every step: one for each sequence that still grows.
    """
    spans = table.every_tokens.shape[0]
    fixed_s = matrix_seconds(table, sums)
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
            sums[SPANS + PER_SPAN * span + DECODE_READ] += growth[span] * fitting
        if fitting < length:
            break
    return steps, spent_s


def _grids(table: CostTable, kernels: list[PrefillKernel]) -> tuple[Grid, Grid]:
    """The grids of all factors; one cell where nothing is calibrated."""
    for kernel in kernels:
        if kernel.times is not None:
            return kernel.times[0].first, kernel.times[0].second
    return Grid(1, 1), Grid(1, 1)


def _times(kernel: PrefillKernel, grids: tuple[Grid, Grid]) -> Floats:
    if kernel.times is None:
        return np.zeros((len(PROMPTS), 0, 4))
    return np.stack([_cells(surface) for surface in kernel.times])


def _stacked(parts: list[Floats], dimensions: int) -> Floats:
    """All of one shape above each other; of none, an empty array."""
    return np.stack(parts) if parts else np.zeros((0,) * (dimensions - 1) + (4,))


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
