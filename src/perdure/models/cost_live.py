"""What a decode step or a prefill costs, in under a microsecond, for a server that decides as calls come in.

The same numbers as the table of `cost_table`, with the sums of one question worked out ahead: rows are made
the first time that a number of sequences, or of new tokens, is asked for. Needs neither numba nor numpy.
"""

import math
from collections.abc import Callable

from perdure.errors import BadRequest
from perdure.models.batch import Batch, Decode, Prefill, sums_of
from perdure.models.cost_table import CostTable
from perdure.silicon.table import Grid, curve_through, strip_through

CONTEXT_KNOTS, TOKEN_KNOTS = 8, 64  # in each octave
Row = tuple[list[float], list[float]]
Strip = tuple[list[float], list[float], list[float], list[float]]


class LiveCost:
    """One instance's costs. Sequences that decode together count as if all were as long as their mean."""

    def __init__(self, table: CostTable) -> None:
        self._table = table
        self._context = Grid(CONTEXT_KNOTS, table.limits.context_tokens)
        self._tokens = Grid(TOKEN_KNOTS, table.limits.tokens)
        self._rows: list[Row | None] = [None] * (table.limits.sequences + 1)
        self._strips: list[Strip | None] = [None] * self._tokens.cells
        self.decode_step_s = self._decode_reader()
        self.prefill_s = self._prefill_reader()

    def _decode_reader(self) -> Callable[[int, float], float]:
        rows, make, grid, frexp = self._rows, self._make_row, self._context, math.frexp
        dense, offset, per_octave, last = grid.dense, grid.offset, grid.per_octave, grid.cells - 1
        sequences_max = self._table.limits.sequences

        def decode_step_s(sequences: int, context_tokens: float) -> float:
            """Seconds of one step of `sequences` that have `context_tokens` together."""
            if not 0 < sequences <= sequences_max:
                raise BadRequest(f"{sequences} sequences: this table is for 1 to {sequences_max}")
            row = rows[sequences]
            base, slope = row if row is not None else make(sequences)
            mean = context_tokens / sequences
            if mean < dense:
                cell = int(mean)
            else:
                mantissa, exponent = frexp(mean)
                cell = offset + exponent * per_octave + int(mantissa * dense)
                if cell > last:
                    cell = last
            return base[cell] + slope[cell] * context_tokens

        return decode_step_s

    def _prefill_reader(self) -> Callable[[int, int], float]:
        strips, make, grid, frexp = self._strips, self._make_strip, self._context, math.frexp
        dense, offset, per_octave, last = grid.dense, grid.offset, grid.per_octave, grid.cells - 1
        tokens_max = self._table.limits.tokens
        places = [self._tokens.cell(tokens) for tokens in range(tokens_max + 1)]

        def prefill_s(new_tokens: int, cached_tokens: int) -> float:
            """Seconds to compute `new_tokens` of one prompt behind `cached_tokens`, alone in its batch."""
            if not 0 < new_tokens <= tokens_max:
                raise BadRequest(f"{new_tokens} new tokens: this table is for chunks of 1 to {tokens_max}")
            strip = strips[places[new_tokens]]
            base, across, along, both = strip if strip is not None else make(places[new_tokens])
            if cached_tokens < dense:
                cell = cached_tokens
            else:
                mantissa, exponent = frexp(cached_tokens)
                cell = offset + exponent * per_octave + int(mantissa * dense)
                if cell > last:
                    cell = last
            part = along[cell] + both[cell] * new_tokens
            return base[cell] + across[cell] * new_tokens + part * cached_tokens

        return prefill_s

    def _make_row(self, sequences: int) -> Row:
        """Seconds of a step of so many sequences, over the tokens that they have together."""
        drafts = self._table.limits.draft_tokens

        def step_s(mean_tokens: float) -> float:
            decode = Decode(
                context_tokens=mean_tokens, count=sequences * self._table.ranks, draft_tokens=drafts
            )
            return self._seconds(Batch(decodes=(decode,)))

        curve = curve_through(self._context, [step_s(mean) for mean in self._context.knots])
        row = (curve.base, [slope / sequences for slope in curve.slope])
        self._rows[sequences] = row
        return row

    def _make_strip(self, place: int) -> Strip:
        """Seconds of one prompt, of new tokens from one knot to the next, over cached tokens."""
        ends = (self._tokens.knots[place], self._tokens.knots[place + 1])

        def prompt_s(new_tokens: float, cached_tokens: float) -> float:
            prefill = Prefill(new_tokens=max(1, int(new_tokens)), cached_tokens=int(cached_tokens))
            return self._seconds(Batch(prefills=(prefill,)))

        values = [[prompt_s(new, cached) for cached in self._context.knots] for new in ends]
        strip = strip_through(ends, self._context, values)
        self._strips[place] = strip
        return strip

    def _seconds(self, batch: Batch) -> float:
        return self._table.seconds(sums_of(batch, self._table.spans, self._table.ranks))
