"""What one chip of an instance does for a batch, as operations with FLOPs and bytes.

A chip's part of one stage stands for all of them: stages run one after another, so the operations of all
layers are listed. Each method answers for what depends on one kind of sum, and says it for all layers.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from perdure.models import operations_attention as attention_of
from perdure.models import operations_feed_forward as feed_forward_of
from perdure.models.architecture import Architecture, Layers
from perdure.models.batch import Batch, Prefill, Seen, Span, Sums, sums_of
from perdure.models.operations_attention import Look, Tokens, look_operation, looks_of
from perdure.models.operations_matrix import Here, all_reduce, elementwise, gemm
from perdure.models.parallel import Parallel
from perdure.models.precision import Precision
from perdure.silicon.roofline import Operation
from perdure.silicon.shapes import ACTIVATION_BYTES, Elementwise, Gemm, Message

ONE_CHIP = Parallel()


@dataclass(frozen=True, kw_only=True)
class Lowering:
    """One model in one precision, laid over chips: what batches make a chip do."""

    model: Architecture
    precision: Precision
    parallel: Parallel = ONE_CHIP

    @cached_property
    def spans(self) -> tuple[Span, ...]:
        """Every way in which the model's layers look back, each once."""
        return tuple(dict.fromkeys(look.span for look in (*self._looks, *self._draft_looks)))

    @property
    def arithmetics(self) -> tuple[str, ...]:
        """Every number format that something is multiplied in, each once."""
        precision = self.precision
        experts = (precision.expert_arithmetic,) if self.model.expert_layers else ()
        used = (precision.arithmetic, *experts, precision.attention_arithmetic, precision.table_arithmetic)
        return tuple(dict.fromkeys(used))

    def sums(self, batch: Batch) -> Sums:
        """The sums of `batch` on which the operations depend."""
        return sums_of(batch, self.spans, self.parallel.dp)

    def operations(self, sums: Sums) -> list[Operation]:
        """All of a batch of these sums; what it has none of is left out."""
        found = [*self.of_tokens(sums.tokens), *self.of_all_tokens(sums.all_tokens)]
        found += self.of_head_rows(sums.head_rows)
        if sums.prefills:
            found += self.of_prompt_tokens(sums.prompt_tokens)
        for number, prefill in enumerate(sums.prefills):
            found += (
                replace(operation, prompt=number, alike=prefill.count, ranks=self.parallel.dp)
                for operation in self.of_prompt(prefill)
            )
        if sums.decode_sequences:
            tokens = Tokens(sums.decode_sequences, sums.decode_tokens)
            found += self.of_decodes(tokens, sums.drafts)
            for number, seen in enumerate(sums.seen):
                beside = bool(sums.prefills)
                found += self.of_sight(number, tokens, seen, sums.drafts, beside_prompt=beside)
        return found

    def of_tokens(self, tokens: float) -> Iterator[Operation]:
        """Matrices, norms and exchanges of a rank's tokens."""
        here = self._here
        yield self._embedding(tokens)
        for group in self.model.groups:
            layer = (
                *attention_of.token_operations(group.attention, tokens, here),
                *all_reduce("all-reduce, attention", tokens, here),
                *feed_forward_of.token_operations(group.feed_forward, tokens, here),
            )
            yield from _repeated(layer, group.count)
        # Each norm reads a token and the sum so far, and writes both.
        norm = elementwise("norm", tokens, 4 * here.hidden_channels * self.model.residual_streams, here)
        yield from _repeated((norm,), 2 * self.model.layers + 1)
        if self.parallel.pp > 1:
            yield from _repeated((self._to_next_stage(tokens),), self.parallel.pp - 1)

    def of_all_tokens(self, all_tokens: float) -> Iterator[Operation]:
        """The routed experts, which all ranks share."""
        here = self._here
        return self._layers(
            lambda group: feed_forward_of.shared_operations(group.feed_forward, all_tokens, here)
        )

    def of_head_rows(self, head_rows: float) -> Iterator[Operation]:
        """The product with every word of the vocabulary."""
        precision = self.precision
        head = Gemm(
            family="head",
            rows=head_rows,
            outputs=self.model.vocabulary_tokens / self.parallel.tp,
            inputs=self.model.hidden_channels,
            weights=precision.table_weights,
            weight_bytes=precision.table_bytes,
            arithmetic=precision.table_arithmetic,
        )
        yield Operation(name="head", shape=head)

    def of_decodes(self, tokens: Tokens, drafts: int) -> Iterator[Operation]:
        """What decodes do whatever their contexts, their drafts included."""
        here = self._here
        yield from self._layers(lambda group: attention_of.decode_operations(group.attention, tokens, here))
        if self.model.prediction and drafts:
            yield from _repeated(self._draft(self.model.prediction, tokens.sequences), drafts)

    def _draft(self, group: Layers, sequences: float) -> Iterator[Operation]:
        """One token more of each sequence, guessed by the model's own draft layer and its head."""
        here, one_each = self._here, Tokens(sequences, sequences)
        width = here.hidden_channels
        yield Operation(name="join for draft", shape=gemm(sequences, width, 2 * width, here))
        yield from attention_of.token_operations(group.attention, sequences, here)
        yield from all_reduce("all-reduce, attention", sequences, here)
        yield from attention_of.decode_operations(group.attention, one_each, here)
        yield from feed_forward_of.token_operations(group.feed_forward, sequences, here)
        all_tokens = sequences * self.parallel.dp
        yield from feed_forward_of.shared_operations(group.feed_forward, all_tokens, here)
        yield from self.of_head_rows(sequences)

    def of_prompt_tokens(self, prompt_tokens: float) -> Iterator[Operation]:
        """What prompts of latent attention do to all of their contexts."""
        here = self._here
        return self._layers(
            lambda group: attention_of.expanding_operations(group.attention, prompt_tokens, here)
        )

    def of_prompt(self, prefill: Prefill) -> Iterator[Operation]:
        """What one prompt does by itself: its attention, and its part of recurrent states."""
        here, tokens = self._here, Tokens(1, prefill.new_tokens)
        yield from self._layers(
            lambda group: attention_of.recurrent_operations(group.attention, "prefill", tokens, here)
        )
        for look, count in self._looks.items():
            if look.phase in (None, "prefill"):
                seen = Seen(pairs=look.span.pairs(prefill), read=look.span.read(prefill))
                yield from _repeated((look_operation(look, "prefill", tokens, seen, here),), count)

    def of_sight(
        self, span_number: int, tokens: Tokens, seen: Seen, drafts: int, *, beside_prompt: bool = False
    ) -> Iterator[Operation]:
        """Every kernel of decodes that looks through one span, in a step with prompts or without."""
        span, here = self.spans[span_number], self._here
        for look, count in self._looks.items():
            if look.span == span and look.phase in (None, "decode"):
                once = look_operation(look, "decode", tokens, seen, here, beside_prompt=beside_prompt)
                yield from _repeated((once,), count)
        one_each = Tokens(tokens.sequences, tokens.sequences)
        for look in self._draft_looks if drafts else ():
            if look.span == span and look.phase in (None, "decode"):
                once = look_operation(look, "decode", one_each, Seen(pairs=seen.read, read=seen.read), here)
                yield from _repeated((once,), drafts)

    @cached_property
    def _here(self) -> Here:
        return Here(
            hidden_channels=self.model.hidden_channels, parallel=self.parallel, precision=self.precision
        )

    @cached_property
    def _looks(self) -> dict[Look, int]:
        """Every kernel that looks back, and how many layers have it."""
        found: dict[Look, int] = {}
        for group in self.model.groups:
            for look in looks_of(group.attention, self._here):
                found[look] = found.get(look, 0) + group.count
        return found

    @cached_property
    def _draft_looks(self) -> tuple[Look, ...]:
        """Of the layer that guesses tokens, where the model has one."""
        group = self.model.prediction
        return looks_of(group.attention, self._here) if group else ()

    def _layers(self, layer: Callable[[Layers], Iterator[Operation]]) -> Iterator[Operation]:
        for group in self.model.groups:
            yield from _repeated(layer(group), group.count)

    def _embedding(self, tokens: float) -> Operation:
        """Each token's row is read and written."""
        shape = Elementwise(
            family="embedding",
            rows=tokens,
            bytes_moved=tokens * self.model.hidden_channels * (self.precision.table_bytes + ACTIVATION_BYTES),
            arithmetic=self.precision.attention_arithmetic,
        )
        return Operation(name="embedding", shape=shape)

    def _to_next_stage(self, tokens: float) -> Operation:
        """Chips of one stage each send their part of every token."""
        size_bytes = tokens * self.model.hidden_channels * ACTIVATION_BYTES / self.parallel.tp
        shape = Message(family="p2p", message_bytes=size_bytes, chips=self.parallel.chips)
        return Operation(name="to the next stage", shape=shape)


def _repeated(operations: Iterable[Operation], count: float) -> Iterator[Operation]:
    for operation in operations:
        yield replace(operation, repeats=operation.repeats * count)
