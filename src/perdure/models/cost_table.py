"""The price of batches as a table over the sums that matter: the same numbers as `cost`, sampled once.

Between its knots every part is linear, so that a run of decode steps, in which contexts grow evenly, is a
walk along straight lines. `cost_live` reads it from Python, `cost_compiled` from numba.
"""

from dataclasses import dataclass

from perdure.models.batch import Prefill, Span, Sums
from perdure.silicon.ranks import busiest
from perdure.silicon.table import Curve, Grid, Surface, curve_through

# Decodes take as long beside prompts as alone.
AS_ALONE = curve_through(Grid(1, 1), [1.0, 1.0, 1.0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How far a table reaches; beyond it the last slope goes on.

    tokens        of one batch
    sequences     that decode at once
    draft_tokens  that every decode checks: a table is made for one number of them
    """

    tokens: int = 16_384
    sequences: int = 1024
    context_tokens: int = 262_144
    draft_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CostTable:
    """Seconds of any batch, part by part, in one draw of the guesses.

    ranks         that attend apart, among which sequences are dealt out
    by_tokens     and the other curves: what depends on one sum
    decode_sight  over (sequences, entries that one of them reads), for each span
    prompt_s      what a prompt does by itself for each new token, over (new tokens, cached tokens)
    beside_prompts  how many times as long the decodes' sight takes in a step with prompts, over sequences
    """

    limits: Limits
    spans: tuple[Span, ...]
    ranks: int
    software_s: float
    by_tokens: Curve
    by_all_tokens: Curve
    by_head_rows: Curve
    by_decodes: Curve
    by_prompt_tokens: Curve
    decode_sight: tuple[Surface, ...]
    prompt_s: Surface
    beside_prompts: Curve = AS_ALONE

    def seconds(self, sums: Sums) -> float:
        """Seconds of a batch of these sums, whose decodes all check `limits.draft_tokens`."""
        total_s = self.software_s + self.by_tokens.at(sums.tokens) + self.by_all_tokens.at(sums.all_tokens)
        total_s += self.by_head_rows.at(sums.head_rows)
        if sums.decode_sequences:
            times = self.beside_prompts.at(sums.decode_sequences) if sums.prefills else 1.0
            total_s += self.by_decodes.at(sums.decode_sequences)
            for surface, seen in zip(self.decode_sight, sums.seen, strict=True):
                total_s += times * surface.at(sums.decode_sequences, seen.read / sums.decode_sequences)
        if sums.prefills:
            total_s += self.by_prompt_tokens.at(sums.prompt_tokens) + self.prompts_seconds(sums)
        return total_s

    def prompts_seconds(self, sums: Sums) -> float:
        """What the prompts of the busiest rank do by themselves."""
        return busiest(
            ((self.prompt_seconds(prefill), prefill.count) for prefill in sums.prefills), self.ranks
        )

    def prompt_seconds(self, prefill: Prefill) -> float:
        """What one prompt does by itself."""
        return prefill.new_tokens * self.prompt_s.at(prefill.new_tokens, prefill.cached_tokens)
