"""What one weight matrix is: how wide, how often, and how tensor parallelism cuts it."""

from dataclasses import dataclass
from typing import Literal

Cut = Literal["outputs", "inputs", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """Maps `inputs` channels to `outputs`, `copies` times side by side (one a head or group).

    cut   what tensor parallelism divides: the outputs, the inputs (an all-reduce then joins the parts), or
          nothing, where every chip holds it whole
    bias  one more number for each output
    """

    name: str
    inputs: int
    outputs: int
    copies: int = 1
    cut: Cut = "outputs"
    bias: bool = False

    @property
    def parameters(self) -> int:
        """Numbers in it, the bias among them."""
        return self.copies * (self.inputs * self.outputs + (self.outputs if self.bias else 0))


def parameters_of(matrices: tuple[Matrix, ...]) -> int:
    """Numbers in all of `matrices`."""
    return sum(matrix.parameters for matrix in matrices)
