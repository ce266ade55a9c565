"""What one chip of a deployment computes and moves for a prefill, and for one step of decode, at batch 1.

Tensor parallelism over `chips`: weights and heads are split evenly and two all-reduces a layer join the
parts. Operations are fused as far as kernels go: norms, rotations and activations ride along, and
activations stay on the chip. That is the least a kernel library can do, so that the price stays a floor.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from perdure.models.architecture import Architecture
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
    kv_bytes = model.kv_bytes_per_token(precision) * context_tokens / _kv_parts(model, chips)
    state_bytes = model.state_bytes_per_sequence / _state_parts(model, chips)
    return model.weight_bytes(precision) / chips + kv_bytes + state_bytes


def touched_experts(model: Architecture, tokens: int) -> float:
    """Distinct experts of one layer that `tokens` meet, each choosing its few evenly and independently."""
    if model.routed_experts == 0:
        return 0.0
    missed = (1 - model.active_experts / model.routed_experts) ** tokens
    return model.routed_experts * (1 - missed)


def _work(
    model: Architecture, precision: Precision, *, new_tokens: int, pairs: float, context: float, chips: int
) -> Work:
    operations = (
        *_full_attention(model, precision, new_tokens, pairs, context, chips),
        *_linear_attention(model, precision, new_tokens, chips),
        *_feed_forward(model, precision, new_tokens, chips),
        # Only the last token's next one is wanted.
        _product("head", model.embedding_parameters + model.hidden_channels, 1, precision, chips),
    )
    message_bytes = new_tokens * model.hidden_channels * ACTIVATION_BYTES
    reduces = (AllReduce(message_bytes=message_bytes, chips=chips, repeats=2 * model.layers),)
    return Work(operations=operations, reduces=reduces if chips > 1 else ())


def _full_attention(
    model: Architecture, precision: Precision, tokens: int, pairs: float, context: float, chips: int
) -> Iterator[Operation]:
    layers = model.full_attention_layers
    yield _product("query, key, value", model.query_parameters, tokens, precision, chips, layers)
    yield Operation(
        name="attention",
        # Two products over the head's channels for each pair of tokens: scores, and weighted values.
        flops=4 * pairs * model.query_heads * model.head_channels / chips,
        # What is cached is read once and what is new is written once.
        bytes_moved=context * model.layer_kv_bytes_per_token(precision) / _kv_parts(model, chips),
        arithmetic=precision.attention_arithmetic,
        repeats=layers,
    )
    yield _product("attention output", model.output_parameters, tokens, precision, chips, layers)


def _linear_attention(
    model: Architecture, precision: Precision, tokens: int, chips: int
) -> Iterator[Operation]:
    layers = model.linear_attention_layers
    if layers == 0:
        return
    parts = _state_parts(model, chips)
    yield _product("linear input", model.linear_input_parameters, tokens, precision, chips, layers)
    yield Operation(
        name="linear attention",
        # Three products with the state for each token: read, correct, look up.
        flops=6 * tokens * model.linear_value_heads * model.linear_head_channels**2 / parts,
        bytes_moved=2 * model.layer_state_bytes / parts,
        arithmetic=precision.attention_arithmetic,
        repeats=layers,
    )
    yield _product("linear output", model.linear_output_parameters, tokens, precision, chips, layers)


def _feed_forward(model: Architecture, precision: Precision, tokens: int, chips: int) -> Iterator[Operation]:
    """Two kernels for what every token passes and two for its experts: up, and down again."""
    for name, share in (("feed-forward up", 2 / 3), ("feed-forward down", 1 / 3)):
        yield _product(name, model.always_on_parameters * share, tokens, precision, chips, model.layers)
        if model.routed_experts:
            yield Operation(
                name=f"experts, {name}",
                flops=2 * tokens * model.active_experts * model.expert_parameters * share / chips,
                bytes_moved=touched_experts(model, tokens)
                * model.expert_parameters
                * share
                * precision.expert_weight_bytes
                / chips,
                arithmetic=precision.arithmetic,
                repeats=model.layers,
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


def _kv_parts(model: Architecture, chips: int) -> int:
    """Among how many chips keys and values are split: a head is not, it is copied."""
    return min(chips, model.kv_heads)


def _state_parts(model: Architecture, chips: int) -> int:
    return max(1, min(chips, model.linear_value_heads))
