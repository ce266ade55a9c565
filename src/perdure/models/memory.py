"""What one chip of an instance must hold for a batch, and whether it can."""

from dataclasses import dataclass

from perdure.models.architecture import Architecture, Layers
from perdure.models.architecture_feed_forward import Experts
from perdure.models.batch import Batch
from perdure.models.operations import Lowering
from perdure.models.operations_attention import matrix_shape
from perdure.models.operations_matrix import Here, cut_gemm
from perdure.models.precision import Precision
from perdure.silicon.ranks import busiest
from perdure.silicon.shapes import ACTIVATION_BYTES
from perdure.units import bytes_text

# What an engine leaves alone: vLLM's default `gpu_memory_utilization` is 0.9 of the chip's memory.
RESERVE_SHARE = 0.1
LOGIT_BYTES = 4.0
VECTOR_BYTES = 2.0  # norms and biases stay in BF16


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes on the fullest chip of an instance.

    kv           keys and values of the batch's sequences; state: what they keep whatever their length
    activations  what is alive at once while the batch is computed
    reserve      left to the engine and the driver
    """

    weights_bytes: float
    kv_bytes: float
    state_bytes: float
    activation_bytes: float
    reserve_bytes: float
    available_bytes: float

    @property
    def needed_bytes(self) -> float:
        """All parts together."""
        return (
            self.weights_bytes + self.kv_bytes + self.state_bytes + self.activation_bytes + self.reserve_bytes
        )

    @property
    def free_bytes(self) -> float:
        """What is left; below zero, what is missing."""
        return self.available_bytes - self.needed_bytes

    @property
    def problem(self) -> str | None:
        """Why the batch cannot run there, or None."""
        if self.free_bytes >= 0:
            return None
        needed, has = bytes_text(self.needed_bytes), bytes_text(self.available_bytes)
        missing = f"{bytes_text(-self.free_bytes)} too many ({-self.free_bytes:,.0f} bytes)"
        return f"does not fit: needs {needed} a chip, has {has}: {missing}"


def memory_of(lowering: Lowering, batch: Batch, *, available_bytes: float) -> Memory:
    """What `batch` needs on the fullest chip, with the contexts that it has after it ran."""
    model, kv_bytes = lowering.model, lowering.precision.kv_bytes
    parallel = lowering.parallel
    contexts = [
        *((part.cached_tokens + part.new_tokens, part.count) for part in batch.prefills),
        *((part.context_tokens + part.draft_tokens, part.count) for part in batch.decodes),
    ]

    def kept(group: Layers, tokens: float) -> float:
        parts = min(parallel.tp, group.attention.kv_parts_max)
        return group.count * group.attention.kv_bytes(tokens, kv_bytes) / parts

    states = sum(
        group.count * group.attention.state_bytes / min(parallel.tp, group.attention.kv_parts_max)
        for group in model.groups
    )
    share = stage_share(model, parallel.pp)
    loads = [(sum(kept(group, tokens) for group in model.groups), count) for tokens, count in contexts]
    sequences = busiest(((1, count) for _, count in contexts), parallel.dp)
    return Memory(
        weights_bytes=weights_bytes(lowering),
        kv_bytes=share * busiest(loads, parallel.dp),
        state_bytes=share * states * sequences,
        activation_bytes=_activation_bytes(lowering, batch),
        reserve_bytes=RESERVE_SHARE * available_bytes,
        available_bytes=available_bytes,
    )


def stage_share(model: Architecture, stages: int) -> float:
    """The largest part of the layers that one of `stages` holds."""
    return -(-model.layers // stages) / model.layers


def weights_bytes(lowering: Lowering) -> float:
    """Weights on the fullest chip: its part of a stage's layers, and of the tables of words."""
    model, precision, parallel = lowering.model, lowering.precision, lowering.parallel
    here = Here(hidden_channels=model.hidden_channels, parallel=parallel, precision=precision)
    groups = (*model.groups, *((model.prediction,) if model.prediction else ()))
    layers = sum(group.count * layer_bytes(group, here) for group in groups)
    # The first stage looks words up, the last one has the head; one stage alone has both.
    tables = 1 if model.tied_embeddings or parallel.pp > 1 else 2
    table_bytes = model.embedding_parameters / parallel.tp * precision.table_bytes
    rest_bytes = _rest_bytes(model, precision)
    return stage_share(model, parallel.pp) * layers + tables * table_bytes + rest_bytes


def model_bytes(model: Architecture, precision: Precision) -> float:
    """All weights in `precision`, as one chip with room for them would hold them."""
    return weights_bytes(Lowering(model=model, precision=precision))


def _rest_bytes(model: Architecture, precision: Precision) -> float:
    """What is in no layer's matrices or norms: joins of draft layers, biases, mixing, the last norm."""
    hidden, prediction = model.hidden_channels, model.prediction
    counted = model.embedding_parameters * (1 if model.tied_embeddings else 2)
    for group in (*model.groups, *((prediction,) if prediction else ())):
        matrices = (*group.attention.matrices(hidden), *group.feed_forward.matrices(hidden))
        weights = sum(matrix.inputs * matrix.outputs * matrix.copies for matrix in matrices)
        routed = group.feed_forward.routed_parameters(hidden)
        counted += group.count * (weights + routed + group.attention.vector_parameters + 2 * hidden)
    joins = prediction.count * 2 * hidden**2 if prediction else 0
    return joins * precision.weight_bytes + (model.parameters - counted - joins) * VECTOR_BYTES


def layer_bytes(group: Layers, here: Here) -> float:
    """Weights of one layer on one chip."""
    attention, block, hidden = group.attention, group.feed_forward, here.hidden_channels
    held = sum(matrix_shape(attention, matrix, 0, here).held_bytes for matrix in attention.matrices(hidden))
    held += sum(cut_gemm(matrix, 0, here).held_bytes for matrix in block.matrices(hidden))
    if isinstance(block, Experts):
        routed = block.routed_parameters(hidden) * here.precision.expert_weight_bytes
        held += routed / here.parallel.stage_chips
    return held + (attention.vector_parameters + 2 * hidden) * VECTOR_BYTES


def _activation_bytes(lowering: Lowering, batch: Batch) -> float:
    """The token's stream and what the widest matrix makes of it; scores of the vocabulary."""
    model, tp = lowering.model, lowering.parallel.tp
    sums = lowering.sums(batch)
    widest = max(
        matrix.outputs * matrix.copies / (tp if matrix.cut == "outputs" else 1)
        for group in model.groups
        for matrix in (
            *group.attention.matrices(model.hidden_channels),
            *group.feed_forward.matrices(model.hidden_channels),
        )
    )
    stream = sums.tokens * (2 * model.hidden_channels * model.residual_streams + widest) * ACTIVATION_BYTES
    return stream + sums.head_rows * model.vocabulary_tokens / tp * LOGIT_BYTES
