"""What one chip computes of a weight matrix that tensor parallelism cuts."""

from dataclasses import dataclass

from perdure.models.architecture_matrix import Matrix
from perdure.models.parallel import Parallel
from perdure.models.precision import Precision
from perdure.silicon.roofline import Operation
from perdure.silicon.shapes import ACTIVATION_BYTES, Elementwise, Gemm, Message

# Shared experts run on a stream of their own up to 256 tokens in vLLM and 1,024 in SGLang
# (`VLLM_SHARED_EXPERTS_STREAM_TOKEN_THRESHOLD`, `DUAL_STREAM_TOKEN_THRESHOLD`).
HIDDEN_TOKENS_MAX = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Here:
    """What every operation of a model shares: the width of its layers, its layout and its precision."""

    hidden_channels: int
    parallel: Parallel
    precision: Precision

    @property
    def tp(self) -> int:
        """Chips that share a matrix."""
        return self.parallel.tp


def cut_gemm(matrix: Matrix, rows: float, here: Here) -> Gemm:
    """One chip's part of `rows` times `matrix`."""
    tp = here.tp
    outputs, inputs, copies = float(matrix.outputs), float(matrix.inputs), float(matrix.copies)
    if matrix.cut != "none" and matrix.copies > 1:
        copies /= tp
    elif matrix.cut == "outputs":
        outputs /= tp
    elif matrix.cut == "inputs":
        inputs /= tp
    return gemm(rows, outputs, inputs, here, copies=copies)


def gemm(rows: float, outputs: float, inputs: float, here: Here, *, copies: float = 1.0) -> Gemm:
    """A product in the precision of the model's matrices."""
    precision = here.precision
    return Gemm(
        rows=rows,
        outputs=outputs,
        inputs=inputs,
        copies=copies,
        weights=precision.weights,
        weight_bytes=precision.weight_bytes,
        arithmetic=precision.arithmetic,
    )


def small_gemm(rows: float, outputs: float, inputs: float, here: Here) -> Gemm:
    """A product with a matrix that quantized checkpoints leave alone, as they do the head: routers, gates."""
    precision = here.precision
    return Gemm(
        rows=rows,
        outputs=outputs,
        inputs=inputs,
        weights=precision.table_weights,
        weight_bytes=precision.table_bytes,
        arithmetic=precision.table_arithmetic,
    )


def elementwise(name: str, rows: float, channels: float, here: Here) -> Operation:
    """A kernel that reads and writes `channels` of each row, counting each time that one passes."""
    shape = Elementwise(
        rows=rows,
        bytes_moved=rows * channels * ACTIVATION_BYTES,
        arithmetic=here.precision.attention_arithmetic,
    )
    return Operation(name=name, shape=shape)


def shown(tokens: float) -> float:
    """How much shows of the time of kernels that run beside others: few tokens leave room on the chip."""
    return min(1.0, tokens / HIDDEN_TOKENS_MAX)


def all_reduce(name: str, rows: float, here: Here) -> tuple[Operation, ...]:
    """Chips that share a matrix add up what each has of `rows`; nothing where there is one chip."""
    if here.tp <= 1:
        return ()
    size_bytes = rows * here.hidden_channels * ACTIVATION_BYTES
    message = Message(family="all_reduce", message_bytes=size_bytes, chips=here.tp)
    return (Operation(name=name, shape=message),)
