"""What a batch asks of a model, and the few sums of it on which its price depends.

A batch is chunks of prompts (prefills) and sequences that each want their next token (decodes). Decodes
attend together, so that of them only sums count; each prompt attends in a kernel of its own, because prompts
of one batch may be very unlike. So a table prices any batch, and a run of decodes is a straight walk in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from perdure.silicon.ranks import busiest


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefill:
    """`count` prompts of which `new_tokens` are computed behind `cached_tokens` that are at hand."""

    new_tokens: int
    cached_tokens: int = 0
    count: int = 1

    @property
    def context_tokens(self) -> int:
        """Tokens that the last of them sees."""
        return self.cached_tokens + self.new_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Decode:
    """`count` sequences that want the token after `context_tokens`, the one just fed in among them.

    draft_tokens  guessed by speculation and checked in the same step, beside that one
    """

    context_tokens: float
    draft_tokens: int = 0
    count: int = 1

    @property
    def new_tokens(self) -> int:
        """Tokens that one sequence computes."""
        return 1 + self.draft_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one forward pass computes."""

    prefills: tuple[Prefill, ...] = ()
    decodes: tuple[Decode, ...] = ()

    @property
    def sequences(self) -> int:
        """Sequences that take part."""
        return sum(part.count for part in (*self.prefills, *self.decodes))

    @property
    def new_tokens(self) -> int:
        """Tokens that are computed."""
        return sum(part.count * part.new_tokens for part in (*self.prefills, *self.decodes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """How far a kind of attention sees: of a context `c`, min(c / every_tokens, limit) entries.

    limit_entries  None for all the way
    picked         each query picks its own entries anywhere; otherwise they are the nearest ones
    """

    limit_entries: int | None = None
    every_tokens: int = 1
    picked: bool = False

    def seen(self, context_tokens: float) -> float:
        """Entries that the last token of a context sees."""
        entries = context_tokens / self.every_tokens
        return entries if self.limit_entries is None else min(entries, self.limit_entries)

    def pairs(self, prefill: Prefill) -> float:
        """Query-entry pairs of one chunk: token i sees what is cached, those before it and itself."""
        new, cached = prefill.new_tokens, prefill.cached_tokens
        if self.limit_entries is None:
            return _ramp(new, cached) / self.every_tokens
        limit_tokens = self.limit_entries * self.every_tokens
        short = min(max(limit_tokens - cached, 0), new)  # tokens that still see all there is
        return _ramp(short, cached) / self.every_tokens + (new - short) * self.limit_entries

    def read(self, prefill: Prefill) -> float:
        """Entries of one chunk's context that are read at least once."""
        new = prefill.new_tokens
        entries = (new + prefill.cached_tokens) / self.every_tokens
        if self.limit_entries is None:
            return entries
        # Nearest entries: a window that slides along the chunk. Picked ones: each query its own.
        reached = self.limit_entries * new if self.picked else self.limit_entries + new / self.every_tokens
        return min(entries, reached)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the decodes of one rank see through one span, summed. Drafts see what their sequence sees."""

    pairs: float
    read: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """All that the price of a batch depends on: loads of the busiest rank of attention, and the prompts.

    tokens         computed there; all_tokens: on all ranks together, which the experts share
    head_rows      tokens whose next one is wanted: one of each prompt, and all of each decode
    prompt_tokens  of context, cached and new, of its prompts
    drafts         rounds of guessing before the batch, as many as its most hopeful decode wants
    seen           by its decodes, one for each span of the model, in its order
    prefills       of all ranks together
    """

    tokens: float
    all_tokens: float
    head_rows: float
    prompt_tokens: float
    decode_sequences: float
    decode_tokens: float
    drafts: int
    seen: tuple[Seen, ...]
    prefills: tuple[Prefill, ...]


def sums_of(batch: Batch, spans: Sequence[Span], ranks: int = 1) -> Sums:
    """The sums of `batch`, whose sequences are dealt out to `ranks` that attend apart."""
    prefills, decodes = batch.prefills, batch.decodes
    both = (*prefills, *decodes)
    heads = [*((1, part.count) for part in prefills), *((part.new_tokens, part.count) for part in decodes)]
    return Sums(
        tokens=busiest(((part.new_tokens, part.count) for part in both), ranks),
        all_tokens=float(batch.new_tokens),
        head_rows=busiest(heads, ranks),
        prompt_tokens=busiest(((part.context_tokens, part.count) for part in prefills), ranks),
        decode_sequences=busiest(((1, part.count) for part in decodes), ranks),
        decode_tokens=busiest(((part.new_tokens, part.count) for part in decodes), ranks),
        drafts=max((part.draft_tokens for part in decodes), default=0),
        seen=tuple(_seen(decodes, span, ranks) for span in spans),
        prefills=prefills,
    )


def _seen(decodes: Sequence[Decode], span: Span, ranks: int) -> Seen:
    sights = [(span.seen(part.context_tokens), part) for part in decodes]
    return Seen(
        pairs=busiest(((sight * part.new_tokens, part.count) for sight, part in sights), ranks),
        read=busiest(((sight, part.count) for sight, part in sights), ranks),
    )


def _ramp(new_tokens: float, cached_tokens: float) -> float:
    """The sum of (cached + i) for i from 1 to new."""
    return new_tokens * (cached_tokens + (new_tokens + 1) / 2)
