"""What one chip computes of a weight matrix that tensor parallelism cuts."""

from dataclasses import dataclass

from perdure.models.architecture_matrix import Matrix
from perdure.models.parallel import Parallel
from perdure.models.precision import Precision
from perdure.silicon.roofline import Operation
from perdure.silicon.shapes import ACTIVATION_BYTES, Elementwise, Gemm, Message


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


def elementwise(name: str, rows: float, channels: float, here: Here) -> Operation:
    """A kernel that reads and writes `channels` of each row, counting each time that one passes."""
    shape = Elementwise(
        rows=rows,
        bytes_moved=rows * channels * ACTIVATION_BYTES,
        arithmetic=here.precision.attention_arithmetic,
    )
    return Operation(name=name, shape=shape)


def all_reduce(name: str, rows: float, here: Here) -> tuple[Operation, ...]:
    """Chips that share a matrix add up what each has of `rows`; nothing where there is one chip."""
    if here.tp <= 1:
        return ()
    size_bytes = rows * here.hidden_channels * ACTIVATION_BYTES
    message = Message(family="all_reduce", message_bytes=size_bytes, chips=here.tp)
    return (Operation(name=name, shape=message),)
