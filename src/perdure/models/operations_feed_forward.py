"""What one chip does in the feed-forward part of one layer, and what it sends for it."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from perdure.models.architecture_feed_forward import Dense, Experts, FeedForward
from perdure.models.architecture_matrix import Matrix
from perdure.models.operations_matrix import Here, all_reduce, cut_gemm, elementwise, shown, small_gemm
from perdure.silicon.roofline import Operation
from perdure.silicon.shapes import ACTIVATION_BYTES, Elementwise, Exchange, Message
from perdure.silicon.shapes import Experts as ExpertsShape

KEPT = ("router", "shared gate")
SHARED = "shared expert"
SCORE_BYTES = 4.0  # the router's scores are FP32


def token_operations(feed_forward: FeedForward, tokens: float, here: Here) -> Iterator[Operation]:
    """What the tokens of one rank of attention cost: dense and shared matrices, routing, and exchanges."""
    if isinstance(feed_forward, Dense):
        yield from _block(feed_forward.matrices(here.hidden_channels), feed_forward.channels, tokens, here)
    else:
        yield from _mixture(feed_forward, tokens, here)
    if isinstance(feed_forward, Experts) and here.parallel.dp > 1:
        yield from _send(feed_forward, tokens, here)
    else:
        yield from all_reduce("all-reduce, feed-forward", tokens, here)


def shared_operations(feed_forward: FeedForward, all_tokens: float, here: Here) -> Iterator[Operation]:
    """What the tokens of all ranks together cost: the routed experts."""
    if not isinstance(feed_forward, Experts):
        return
    parallel, precision = here.parallel, here.precision
    seen_channels = feed_forward.input_channels or here.hidden_channels
    tokens = all_tokens / parallel.dp
    beside = [operation.shape for operation in _shared(feed_forward, tokens, here)]
    hidden = 1.0 - shown(tokens)
    shape = ExpertsShape(
        tokens=all_tokens,
        hidden_channels=seen_channels,
        expert_channels=feed_forward.channels,
        experts=feed_forward.routed,
        active=feed_forward.active,
        ep=parallel.ep,
        moe_tp=parallel.moe_tp,
        weights=precision.expert_weights,
        weight_bytes=precision.expert_weight_bytes,
        arithmetic=precision.expert_arithmetic,
        beside_flops=hidden * sum(shape.flops for shape in beside if not isinstance(shape, Message)),
        beside_bytes=hidden * sum(shape.bytes_moved for shape in beside if not isinstance(shape, Message)),
    )
    yield Operation(name="experts", shape=shape, launches=2)
    if parallel.dp > 1 and parallel.ep == 1:
        # Every chip holds a slice of every expert, so every chip must see every token.
        size_bytes = all_tokens * seen_channels
        gather, scatter = size_bytes * precision.dispatch_bytes, size_bytes * ACTIVATION_BYTES
        yield _exchange("gather for experts", "all_gather", gather, parallel.stage_chips)
        yield _exchange("scatter from experts", "reduce_scatter", scatter, parallel.stage_chips)


def _block(matrices: Iterable[Matrix], inner: float, tokens: float, here: Here) -> Iterator[Operation]:
    for matrix in matrices:
        yield Operation(name=matrix.name, shape=cut_gemm(matrix, tokens, here))
    yield elementwise("gate", tokens, 3 * inner / here.tp, here)


def _mixture(experts: Experts, tokens: float, here: Here) -> Iterator[Operation]:
    """Around the routed experts. The shared one's part that does not hide beside them is listed here."""
    for matrix in experts.matrices(here.hidden_channels):
        if matrix.name in KEPT:
            yield Operation(name=matrix.name, shape=small_gemm(tokens, matrix.outputs, matrix.inputs, here))
        elif not matrix.name.startswith(SHARED):
            yield Operation(name=matrix.name, shape=cut_gemm(matrix, tokens, here))
    yield _route(experts, tokens, here)
    if experts.shared_channels:
        for operation in _shared(experts, tokens, here):
            yield replace(operation, repeats=operation.repeats * shown(tokens))
        yield elementwise("add shared", tokens, 3 * here.hidden_channels, here)
    if experts.shared_gate:
        yield elementwise("weigh shared", tokens, 2 * here.hidden_channels, here)


def _shared(experts: Experts, tokens: float, here: Here) -> Iterator[Operation]:
    """The expert that sees every token."""
    matrices = [m for m in experts.matrices(here.hidden_channels) if m.name.startswith(SHARED)]
    if matrices:
        yield from _block(matrices, experts.shared_channels, tokens, here)


def ranks_met(active: int, ep: int) -> float:
    """Distinct chips, of `ep` that hold experts, that one token meets when it chooses `active` evenly."""
    return ep * (1.0 - (1.0 - 1.0 / ep) ** active)


def _route(experts: Experts, tokens: float, here: Here) -> Operation:
    """The choice among the router's scores."""
    shape = Elementwise(
        rows=tokens,
        bytes_moved=2 * tokens * experts.routed * SCORE_BYTES,
        arithmetic=here.precision.attention_arithmetic,
    )
    return Operation(name="route", shape=shape)


def _send(experts: Experts, tokens: float, here: Here) -> Iterator[Operation]:
    """To the chips of a token's experts and back, once for each chip; then to the rest of its own group."""
    parallel = here.parallel
    if parallel.ep > 1:
        copies = ranks_met(experts.active, parallel.ep) * parallel.moe_tp
        sent = tokens / parallel.tp * copies * (experts.input_channels or here.hidden_channels)
        there, back = sent * here.precision.dispatch_bytes, sent * ACTIVATION_BYTES
        yield _exchange("send to experts", "all_to_all", there, parallel.stage_chips)
        yield _exchange("return from experts", "all_to_all", back, parallel.stage_chips)
    if parallel.tp > 1:
        size_bytes = tokens * here.hidden_channels * ACTIVATION_BYTES
        yield _exchange("gather in group", "all_gather", size_bytes, parallel.tp)


def _exchange(name: str, family: Exchange, size_bytes: float, chips: int) -> Operation:
    return Operation(name=name, shape=Message(family=family, message_bytes=size_bytes, chips=chips))
