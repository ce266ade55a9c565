"""What one chip of a deployment computes and moves for a prefill, and for one step of decode, at batch 1.

Tensor parallelism over `chips`: weights and heads are split evenly and two all-reduces a layer join the
parts. Operations are fused as far as kernels go: norms, rotations and activations ride along, and
activations stay on the chip. That is the least a kernel library can do, so that the price stays a floor.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from perdure.models.architecture import Architecture
from perdure.models.architecture_attention import Attention, LinearAttention
from perdure.models.architecture_feed_forward import Experts
from perdure.models.architecture_matrix import Matrix
from perdure.models.architecture_shape import Layers
from perdure.models.precision import Precision
from perdure.silicon.collectives import AllReduce
from perdure.silicon.roofline import Operation

ACTIVATION_BYTES = 2  # what crosses the links is BF16


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One chip's operations, and the all-reduces that they wait for."""

    operations: tuple[Operation, ...]
    reduces: tuple[AllReduce, ...]


def prefill_work(
    model: Architecture, precision: Precision, *, new_tokens: int, cached_tokens: int, chips: int = 1
) -> Work:
    """Compute `new_tokens` of a prompt behind `cached_tokens` whose keys, values or state are at hand."""
    # Token i sees the cached ones, those before it and itself.
    pairs = new_tokens * (cached_tokens + (new_tokens + 1) / 2)
    return _work(
        model, precision, new_tokens=new_tokens, pairs=pairs, context=cached_tokens + new_tokens, chips=chips
    )


def decode_work(model: Architecture, precision: Precision, *, context_tokens: float, chips: int = 1) -> Work:
    """Compute the one token that ends a context of `context_tokens`, itself included.

    Each operation is constant or proportional to the context, so the mean step of a run of them is the
    step at their mean context: `context_tokens` may be a fraction.
    """
    return _work(model, precision, new_tokens=1, pairs=context_tokens, context=context_tokens, chips=chips)


def memory_bytes_per_chip(
    model: Architecture, precision: Precision, *, context_tokens: int, chips: int = 1
) -> float:
    """Weights, and the cache of one sequence of `context_tokens`. Activations and reserve are not in it."""
    kept_bytes = sum(
        group.count
        * (group.attention.kv_bytes(context_tokens, precision.kv_bytes) + group.attention.state_bytes)
        / _parts(group.attention, chips)
        for group in model.groups
    )
    return model.weight_bytes(precision) / chips + kept_bytes


def touched_experts(model: Architecture, tokens: int) -> float:
    """Distinct experts of one layer that `tokens` meet, each choosing its few evenly and independently."""
    for group in model.groups:
        if isinstance(group.feed_forward, Experts):
            return group.feed_forward.touched(tokens)
    return 0.0


def _work(
    model: Architecture, precision: Precision, *, new_tokens: int, pairs: float, context: float, chips: int
) -> Work:
    operations: list[Operation] = []
    for group in model.groups:
        operations += _attention(model, group, precision, new_tokens, pairs, context, chips)
        operations += _feed_forward(model, group, precision, new_tokens, chips)
    # Only the last token's next one is wanted.
    operations.append(
        _product("head", model.embedding_parameters + model.hidden_channels, 1, precision, chips)
    )
    message_bytes = new_tokens * model.hidden_channels * ACTIVATION_BYTES
    reduces = (AllReduce(message_bytes=message_bytes, chips=chips, repeats=2 * model.layers),)
    return Work(operations=tuple(operations), reduces=reduces if chips > 1 else ())


def _attention(
    model: Architecture,
    group: Layers,
    precision: Precision,
    tokens: int,
    pairs: float,
    context: float,
    chips: int,
) -> Iterator[Operation]:
    """The products before it, with the norms, attention itself, and the product after it."""
    attention, hidden = group.attention, model.hidden_channels
    *before, after = (matrix.parameters for matrix in _ordered(attention.matrices(hidden)))
    made = sum(before) + attention.vector_parameters + hidden
    linear = isinstance(attention, LinearAttention)
    yield _product(
        "linear input" if linear else "query, key, value", made, tokens, precision, chips, group.count
    )
    yield Operation(
        name="linear attention" if linear else "attention",
        flops=_attention_flops(attention, tokens, pairs, context) / _flop_parts(attention, chips),
        # What is cached is read once and what is new is written once; a state is read and written.
        bytes_moved=(attention.kv_bytes(context, precision.kv_bytes) + 2 * attention.state_bytes)
        / _parts(attention, chips),
        arithmetic=precision.attention_arithmetic,
        repeats=group.count,
    )
    yield _product(
        "linear output" if linear else "attention output", after, tokens, precision, chips, group.count
    )


def _ordered(matrices: tuple[Matrix, ...]) -> list[Matrix]:
    """`matrices` with the one that leads out of the heads last."""
    return sorted(matrices, key=lambda matrix: matrix.cut == "inputs")


def _attention_flops(attention: Attention, tokens: int, pairs: float, context: float) -> float:
    if isinstance(attention, LinearAttention):
        # Three products with the state for each token: read, correct, look up.
        return 6 * tokens * attention.value_heads * attention.head_channels**2
    # Two products over the head's channels for each pair of tokens: scores, and weighted values.
    met = pairs * attention.attends(context) / context if context else 0.0
    return 2 * met * attention.query_heads * attention.pair_channels


def _feed_forward(
    model: Architecture, group: Layers, precision: Precision, tokens: int, chips: int
) -> Iterator[Operation]:
    """Two kernels for what every token passes and two for its experts: up, and down again."""
    hidden, block = model.hidden_channels, group.feed_forward
    always_on = group.always_on_parameters(hidden)
    for name, share in (("feed-forward up", 2 / 3), ("feed-forward down", 1 / 3)):
        yield _product(name, always_on * share, tokens, precision, chips, group.count)
        if isinstance(block, Experts):
            expert = block.expert_parameters(hidden)
            yield Operation(
                name=f"experts, {name}",
                flops=2 * tokens * block.active * expert * share / chips,
                bytes_moved=block.touched(tokens) * expert * share * precision.expert_weight_bytes / chips,
                arithmetic=precision.arithmetic,
                repeats=group.count,
            )


def _product(
    name: str, parameters: float, tokens: int, precision: Precision, chips: int, layers: int = 1
) -> Operation:
    """`tokens` times a matrix of `parameters`, split over `chips`."""
    return Operation(
        name=name,
        flops=2 * parameters * tokens / chips,
        bytes_moved=parameters * precision.weight_bytes / chips,
        arithmetic=precision.arithmetic,
        repeats=layers,
    )


def _parts(attention: Attention, chips: int) -> int:
    """Among how many chips what is kept is split: a head is not, it is copied."""
    return max(1, min(chips, attention.kv_parts_max))


def _flop_parts(attention: Attention, chips: int) -> int:
    """Among how many chips attention's arithmetic is split: query heads are, states by their value heads."""
    return _parts(attention, chips) if isinstance(attention, LinearAttention) else chips
