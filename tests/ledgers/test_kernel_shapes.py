"""Operation counts and means of the kernel job, against figures worked out by hand."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "examples" / "kernel_tuning"))

from kernel_shapes import SHAPES, Shape, geomean, of_phase, speedups
from kernel_space import space_of


def test_causal_prefill_counts_the_triangle() -> None:
    """640 queries over 640 keys see 640 x 641 / 2 = 205,120 pairs; 4 heads, 64 wide, 4 operations each."""
    shape = Shape(name="p", phase="prefill", heads=4, kv_heads=2, queries=640, keys=640, dim=64)
    assert shape.operations == 205_120 * 4 * 64 * 4 == 210_042_880


def test_decode_sees_every_key_and_reads_each_once() -> None:
    """One query of 16 heads over 12,288 keys of 2 KV heads, 64 wide: 50.3 M operations, 12.6 MB."""
    shape = Shape(name="d", phase="decode", heads=16, kv_heads=2, queries=1, keys=12288, dim=64)
    assert shape.operations == 12_288 * 16 * 64 * 4 == 50_331_648
    assert shape.kv_bytes == 2 * 12_288 * 2 * 64 * 4 == 12_582_912


def test_the_geometric_mean_of_2_and_8_is_4() -> None:
    """A kernel twice as fast on one shape and eight times on another is four times as fast."""
    assert speedups([8.0, 8.0], [4.0, 1.0]) == [2.0, 8.0]
    assert geomean([2.0, 8.0]) == pytest.approx(4.0)


def test_three_shapes_are_prefill_and_two_are_decode() -> None:
    """Both phases of an agent's call are in the job."""
    numbers = [float(place) for place in range(len(SHAPES))]
    assert of_phase(numbers, "prefill") == [0.0, 1.0, 2.0]
    assert of_phase(numbers, "decode") == [3.0, 4.0]


def test_the_space_on_two_avx512_cores() -> None:
    """5 q x 4 kv x 4 rows x 3 unroll x 4 vec x 2 layouts x 2 orders x 4 exp x 2 acc x 4 prefetch x 2 x 2."""
    size = space_of(cores=2, vector_floats=16).size
    assert size == 5 * 4 * 4 * 3 * 4 * 2 * 2 * 4 * 2 * 4 * 2 * 2 == 491_520
