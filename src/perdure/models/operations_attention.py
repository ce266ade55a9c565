"""What one chip does in the attention of one layer, for each way to attend.

A kind of attention looks through one or more spans. What depends on the tokens of the batch alone is apart
from what depends on the contexts, so that either can be priced from a table of its own.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from perdure.models.architecture_attention import (
    STATE_BYTES,
    Attention,
    CompressedAttention,
    GroupedQueryAttention,
    Indexer,
    LatentAttention,
    LinearAttention,
)
from perdure.models.architecture_matrix import Matrix
from perdure.models.batch import Seen, Span
from perdure.models.operations_matrix import Here, cut_gemm, elementwise, gemm, small_gemm
from perdure.silicon.roofline import Operation
from perdure.silicon.shapes import Attention as AttentionShape
from perdure.silicon.shapes import Gemm, Message, Phase, Recurrence

ALL = Span()
# Weights of the product that a decode of latent attention does without: see `LatentAttention`.
EXPANDED = "key, value up"
# Of an index's keys: norm, rotation, Hadamard transform, quantization, store; and the scale of its weights.
# The queries' own run beside (the indexer of DeepSeek-V3.2's published inference code).
INDEX_KERNELS = 6
NORM_SUMS_BYTES = 8.0  # one FP32 sum of squares of queries, one of keys


@dataclass(frozen=True, slots=True)
class Tokens:
    """The prefills, or the decodes, of a batch: how many sequences, and how many tokens they compute."""

    sequences: float
    new_tokens: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One kernel that looks through `span`; counts are of one chip. Fields as in `silicon.shapes.Attention`.

    phase     None where prefill and decode look alike
    launches  zero where another look's kernel does it too
    """

    name: str
    span: Span
    phase: Phase | None = None
    query_heads: float
    kv_heads: float
    key_channels: float
    value_channels: float
    kv_channels: float
    kv_channel_bytes: float
    launches: int = 1


def looks_of(attention: Attention, here: Here) -> tuple[Look, ...]:
    """Every look of one layer."""
    match attention:
        case GroupedQueryAttention():
            return (_grouped(attention, here),)
        case LatentAttention():
            if attention.index is None:
                return (_expanded(attention, here), _latent(attention, here, ALL, "decode"))
            picked = Span(limit_entries=attention.index.top_tokens, picked=True)
            return (
                _index(attention.index, ALL, attention.index.key_bytes),
                _latent(attention, here, picked, None),
            )
        case CompressedAttention():
            return tuple(_compressed(attention, here))
        case LinearAttention():
            return ()


def look_operation(
    look: Look, phase: Phase, tokens: Tokens, seen: Seen, here: Here, *, beside_prompt: bool = False
) -> Operation:
    """The kernel of `look` for the prefills, or for the decodes, of a batch."""
    shape = AttentionShape(
        phase=phase,
        sequences=tokens.sequences,
        new_tokens=tokens.new_tokens,
        pairs=seen.pairs,
        context_tokens=seen.read,
        query_heads=look.query_heads,
        kv_heads=look.kv_heads,
        key_channels=look.key_channels,
        value_channels=look.value_channels,
        kv_channels=look.kv_channels,
        kv_channel_bytes=look.kv_channel_bytes,
        arithmetic=here.precision.attention_arithmetic,
        window_tokens=look.span.limit_entries,
        beside_prompt=beside_prompt,
    )
    return Operation(name=f"{look.name}, {phase}", shape=shape, launches=look.launches)


def token_operations(attention: Attention, tokens: float, here: Here) -> Iterator[Operation]:
    """Matrices that every token passes, and what goes with them."""
    for matrix in _matrices(attention, here):
        if not (matrix.name == EXPANDED and isinstance(attention, LatentAttention)):
            yield Operation(name=matrix.name, shape=matrix_shape(attention, matrix, tokens, here))
    if isinstance(attention, LatentAttention) and not _expands(attention):
        yield from _absorbed(attention, tokens, here)
    yield elementwise("rotate and store", tokens, 2 * _made_channels(attention, here.tp), here)
    yield from _norms_and_gates(attention, tokens, here)


def _matrices(attention: Attention, here: Here) -> tuple[Matrix, ...]:
    """As products are run: what makes the decays of a gated DeltaNet stays in BF16, and apart."""
    matrices = attention.matrices(here.hidden_channels)
    if not isinstance(attention, LinearAttention) or attention.rule != "gated-delta":
        return matrices
    made, *rest = matrices
    return (replace(made, outputs=made.outputs - 2 * attention.value_heads), *rest)


def _norms_and_gates(attention: Attention, tokens: float, here: Here) -> Iterator[Operation]:
    """Small kernels beside the norms that every layer has."""
    match attention:
        case GroupedQueryAttention():
            query_channels = attention.query_heads * attention.head_channels / here.tp
            if attention.query_key_norm:
                kv_channels = kv_heads_here(attention.kv_heads, here.tp) * attention.head_channels
                yield elementwise("query, key norm", tokens, 2 * (query_channels + kv_channels), here)
            if attention.query_key_norm_joint and here.tp > 1:
                sums = Message(family="all_reduce", message_bytes=tokens * NORM_SUMS_BYTES, chips=here.tp)
                yield Operation(name="all-reduce, query and key norm", shape=sums)
            if attention.output_gate:
                yield elementwise("output gate", tokens, 3 * query_channels, here)
        case LatentAttention():
            latents = attention.query_latent_channels + attention.kv_latent_channels
            yield elementwise("latent norm", tokens, 2 * latents, here)
            if attention.index is not None:
                small = elementwise("index small kernels", tokens, 2 * attention.index.head_channels, here)
                yield replace(small, repeats=INDEX_KERNELS)
        case LinearAttention():
            values = attention.value_heads * attention.head_channels / min(here.tp, attention.value_heads)
            keys = attention.key_heads * attention.head_channels / min(here.tp, attention.key_heads)
            yield elementwise("split heads", tokens, 4 * (keys + values), here)
            yield elementwise("gated norm", tokens, 3 * values, here)
            if attention.rule == "gated-delta":
                decays = 2 * max(1.0, attention.value_heads / here.tp)
                yield Operation(name="decays", shape=small_gemm(tokens, decays, here.hidden_channels, here))
        case CompressedAttention():
            return


def decode_operations(attention: Attention, tokens: Tokens, here: Here) -> Iterator[Operation]:
    """What decodes do whatever their contexts."""
    if isinstance(attention, LatentAttention) and _expands(attention):
        yield from _absorbed(attention, tokens.new_tokens, here)
    yield from recurrent_operations(attention, "decode", tokens, here)


def recurrent_operations(
    attention: Attention, phase: Phase, tokens: Tokens, here: Here
) -> Iterator[Operation]:
    """What tokens do to the states of their sequences."""
    if isinstance(attention, LinearAttention):
        yield _recurrence(attention, phase, tokens, here)


def expanding_operations(attention: Attention, prompt_tokens: float, here: Here) -> Iterator[Operation]:
    """What prompts do to all of their contexts: make keys and values of latent vectors."""
    if isinstance(attention, LatentAttention) and _expands(attention):
        for matrix in attention.matrices(here.hidden_channels):
            if matrix.name == EXPANDED:
                yield Operation(name=EXPANDED, shape=cut_gemm(matrix, prompt_tokens, here))


def _absorbed(attention: LatentAttention, tokens: float, here: Here) -> Iterator[Operation]:
    """Queries are brought to the latent vector, and results from there, instead of expanding the cache."""
    heads = attention.query_heads / here.tp
    latent = attention.kv_latent_channels
    yield Operation(
        name="query to latent", shape=gemm(tokens, latent, attention.nope_channels, here, copies=heads)
    )
    yield Operation(
        name="latent to value", shape=gemm(tokens, attention.value_channels, latent, here, copies=heads)
    )


def _expands(attention: LatentAttention) -> bool:
    """Whether prefills expand latent vectors; sparse attention picks them as they are."""
    return attention.index is None


def kv_heads_here(kv_heads: int, tp: int) -> float:
    """Heads of keys and values on one chip: a head is not cut, it is copied where chips outnumber heads."""
    return max(1.0, kv_heads / tp)


def _grouped(attention: GroupedQueryAttention, here: Here) -> Look:
    kv_heads = kv_heads_here(attention.kv_heads, here.tp)
    return Look(
        name="attention" if attention.sliding_window_tokens is None else "window attention",
        span=Span(limit_entries=attention.sliding_window_tokens),
        query_heads=attention.query_heads / here.tp,
        kv_heads=kv_heads,
        key_channels=attention.head_channels,
        value_channels=attention.head_channels,
        kv_channels=2 * kv_heads * attention.head_channels,
        kv_channel_bytes=here.precision.kv_bytes,
    )


def _expanded(attention: LatentAttention, here: Here) -> Look:
    """Prefill: every head has keys and values of its own, made from the latent vectors just before."""
    heads = attention.query_heads / here.tp
    key_channels = attention.nope_channels + attention.rope_channels
    return Look(
        name="attention",
        span=ALL,
        phase="prefill",
        query_heads=heads,
        kv_heads=heads,
        key_channels=key_channels,
        value_channels=attention.value_channels,
        kv_channels=heads * (key_channels + attention.value_channels),
        kv_channel_bytes=2.0,
    )


def _latent(attention: LatentAttention, here: Here, span: Span, phase: Phase | None) -> Look:
    """All heads score the same latent vector, and get it back as value; its rotated part only scores."""
    kept = attention.kv_latent_channels + attention.rope_channels
    return Look(
        name="attention",
        span=span,
        phase=phase,
        query_heads=attention.query_heads / here.tp,
        kv_heads=1,
        key_channels=kept,
        value_channels=attention.kv_latent_channels,
        kv_channels=kept,
        kv_channel_bytes=here.precision.kv_bytes,
    )


def _index(index: Indexer, span: Span, key_bytes: float) -> Look:
    """Scores of small keys; every chip does all of them."""
    return Look(
        name="index",
        span=span,
        query_heads=index.heads,
        kv_heads=1,
        key_channels=index.head_channels,
        value_channels=0,
        kv_channels=key_bytes,
        kv_channel_bytes=1.0,
    )


def _compressed(attention: CompressedAttention, here: Here) -> Iterator[Look]:
    """The window, and in the same kernel the entries before it."""
    every = attention.compression_tokens
    spans = [Span(limit_entries=attention.sliding_window_tokens)]
    if every is not None and attention.index is not None:
        yield _index(attention.index, Span(every_tokens=every), attention.index.entry_key_bytes)
        spans.append(Span(limit_entries=attention.index.top_tokens, every_tokens=every, picked=True))
    elif every is not None:
        spans.append(Span(every_tokens=every))
    for number, span in enumerate(spans):
        yield Look(
            name="window attention" if number == 0 else "entry attention",
            span=span,
            query_heads=attention.query_heads / here.tp,
            kv_heads=1,
            key_channels=attention.head_channels,
            value_channels=attention.head_channels,
            kv_channels=attention.head_channels,
            kv_channel_bytes=here.precision.kv_bytes,
            launches=1 if number == 0 else 0,
        )


def matrix_shape(attention: Attention, matrix: Matrix, tokens: float, here: Here) -> Gemm:
    """One chip's part of `tokens` times `matrix`."""
    if not isinstance(attention, GroupedQueryAttention) or matrix.cut != "outputs":
        return cut_gemm(matrix, tokens, here)
    # Heads of keys and values are copied where chips outnumber them.
    kv_channels = 2 * attention.kv_heads * attention.head_channels
    copied = 2 * kv_heads_here(attention.kv_heads, here.tp) * attention.head_channels
    outputs = (matrix.outputs - kv_channels) / here.tp + copied
    return gemm(tokens, outputs, matrix.inputs, here)


def _made_channels(attention: Attention, tp: int) -> float:
    """Channels of queries, keys and values of one token on one chip, before they are rotated and stored."""
    match attention:
        case GroupedQueryAttention():
            kv_channels = 2 * kv_heads_here(attention.kv_heads, tp) * attention.head_channels
            return attention.query_heads * attention.head_channels / tp + kv_channels
        case LatentAttention():
            heads = attention.query_heads / tp * (attention.nope_channels + attention.rope_channels)
            return heads + attention.kv_latent_channels + attention.rope_channels
        case LinearAttention():
            keys, values = attention.key_heads, attention.value_heads
            return (2 * keys + 2 * values) * attention.head_channels / min(tp, values)
        case CompressedAttention():
            return (attention.query_heads / tp + 1) * attention.head_channels


def _recurrence(attention: LinearAttention, phase: Phase, tokens: Tokens, here: Here) -> Operation:
    shape = Recurrence(
        phase=phase,
        tokens=tokens.new_tokens,
        sequences=tokens.sequences,
        key_heads=max(1.0, attention.key_heads / here.tp),
        value_heads=max(1.0, attention.value_heads / here.tp),
        key_channels=attention.head_channels,
        value_channels=attention.head_channels,
        state_bytes=STATE_BYTES,
        arithmetic=here.precision.attention_arithmetic,
    )
    return Operation(name=f"linear attention, {phase}", shape=shape)
