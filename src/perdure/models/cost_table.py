"""The price of batches as a table over the sums that matter: the same numbers as `cost`, sampled once.

Between its knots every part of a decode step is linear, so that a run of steps, in which contexts grow
evenly, is a walk along straight lines. Of prefills the floor is computed, and only how far short of it
kernels fall is in the table. `cost_live` reads it from Python, `cost_compiled` from numba.
"""

from dataclasses import dataclass

from perdure.models.batch import Span, Sums
from perdure.silicon.table import Curve, Surface

# Numbers of prompts in one batch at which prefills are sampled; a whole number of octaves apart.
PROMPTS = (1, 4, 16, 64)


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
class PrefillKernel:
    """One kernel of prefills, all layers together: `max(compute, memory) * times + launch`.

    compute_s  for each unit of work: a pair of a token and what it sees, or a token
    kept_s     for each unit that is read: a token of context, or a sequence's state
    token_s    for each token that goes in and comes out
    times      measured / floor over (tokens, cached tokens) of one prompt, for each of `PROMPTS`
    """

    compute_s: float
    kept_s: float
    token_s: float
    launch_s: float
    times: tuple[Surface, ...] | None

    def seconds(self, *, work: float, kept: float, tokens: float, prompts: float, cached: float) -> float:
        """What it takes for `prompts` of `tokens` in all, each behind `cached` on the mean."""
        floor_s = max(self.compute_s * work, self.kept_s * kept + self.token_s * tokens)
        if self.times is None:
            return floor_s + self.launch_s
        place, share = prompts_place(prompts)
        one = tokens / prompts
        fewer, more = self.times[place].at(one, cached), self.times[place + 1].at(one, cached)
        return floor_s * (fewer * (1.0 - share) + more * share) + self.launch_s


@dataclass(frozen=True, slots=True, kw_only=True)
class CostTable:
    """Seconds of any batch, part by part, in one draw of the guesses.

    by_tokens     and the other curves: what depends on one sum
    decode_sight  over (sequences, entries that one of them reads), for each span
    prefill_sight kernels that look through each span; recurrences: those that update recurrent states
    """

    limits: Limits
    spans: tuple[Span, ...]
    software_s: float
    by_tokens: Curve
    by_all_tokens: Curve
    by_head_rows: Curve
    by_decodes: Curve
    by_read_tokens: Curve
    decode_sight: tuple[Surface, ...]
    prefill_sight: tuple[tuple[PrefillKernel, ...], ...]
    recurrences: tuple[PrefillKernel, ...]

    def seconds(self, sums: Sums) -> float:
        """Seconds of a batch of these sums, whose decodes all check `limits.draft_tokens`."""
        total_s = self.software_s + self.by_tokens.at(sums.tokens) + self.by_all_tokens.at(sums.all_tokens)
        total_s += self.by_head_rows.at(sums.head_rows)
        if sums.decode_sequences:
            total_s += self.decode_seconds(sums)
        if sums.prefill_sequences:
            total_s += self.prefill_seconds(sums)
        return total_s

    def decode_seconds(self, sums: Sums) -> float:
        """What decodes add to the matrices of their tokens."""
        count = sums.decode_sequences
        total_s = self.by_decodes.at(count)
        for surface, seen in zip(self.decode_sight, sums.seen, strict=True):
            total_s += surface.at(count, seen.decode_read / count)
        return total_s

    def prefill_seconds(self, sums: Sums) -> float:
        """What prefills add to the matrices of their tokens."""
        prompts, tokens = sums.prefill_sequences, sums.prefill_tokens
        total_s = sum(
            kernel.seconds(work=tokens, kept=prompts, tokens=tokens, prompts=prompts, cached=0.0)
            for kernel in self.recurrences
        )
        for span, kernels, seen in zip(self.spans, self.prefill_sight, sums.seen, strict=True):
            if span == Span():
                total_s += self.by_read_tokens.at(seen.prefill_read)
            cached = cached_tokens(span, seen.prefill_pairs / tokens, tokens / prompts)
            total_s += sum(
                kernel.seconds(
                    work=seen.prefill_pairs,
                    kept=seen.prefill_read,
                    tokens=tokens,
                    prompts=prompts,
                    cached=cached,
                )
                for kernel in kernels
            )
        return total_s


def cached_tokens(span: Span, mean_seen: float, tokens: float) -> float:
    """Cached tokens of one prompt whose `tokens` see `mean_seen` entries each on the mean."""
    return max(0.0, mean_seen * span.every_tokens - (tokens + 1.0) / 2.0)


def prompts_place(prompts: float) -> tuple[int, float]:
    """Between which two of `PROMPTS` a number of them lies, and how far along; beyond the last, at it."""
    for place in range(len(PROMPTS) - 2, -1, -1):
        if prompts >= PROMPTS[place]:
            low, high = PROMPTS[place], PROMPTS[place + 1]
            return place, min(1.0, (prompts - low) / (high - low))
    return 0, 0.0
