"""Calibration against single timings that anyone can look up."""

import pytest

from perdure.catalog.figure import Case
from perdure.catalog.load import load_catalog
from perdure.silicon.calibration import calibration_of
from perdure.silicon.calibration_table import tables_of
from perdure.silicon.chip import chip_at
from perdure.silicon.shapes import Gemm

STEP = 2 ** (1 / 100) - 1  # half of the 1.4 % to which times are rounded


@pytest.mark.parametrize(
    ("chip", "sizes", "microseconds"),
    [
        ("nvidia-h200", (8, 5120, 8192), 25.6),
        ("nvidia-b200", (8, 5120, 8192), 18.0),
        ("nvidia-h100", (4096, 5120, 8192), 432.3),
    ],
)
def test_bf16_products_take_what_the_fastest_stack_took(
    chip: str, sizes: tuple[int, int, int], microseconds: float
) -> None:
    """`gemm_perf.parquet` of vLLM 0.24.0 in aiconfigurator-core 0.12.0, the fastest of three stacks there."""
    table = tables_of(chip, "any")["gemm/bfloat16"]
    assert table.seconds(*sizes) * 1e6 == pytest.approx(microseconds, rel=0.003 + STEP)


def test_an_810e_product_takes_what_was_measured() -> None:
    """256 x 128256 x 4096 in BF16: 2.053 ms (FlagGems pull 5972), within a tenth of our mid."""
    shape = Gemm(rows=256, outputs=128256, inputs=4096, weights="bf16", weight_bytes=2, arithmetic="bf16")
    chip = chip_at(load_catalog().chip("zhenwu-810e"), Case.MID)
    times = calibration_of("zhenwu-810e").factor(shape, chip).times
    floor_s = max(shape.flops / chip.flops_per_s["bf16"], shape.bytes_moved / chip.memory_bytes_per_s)
    assert floor_s * times.mid == pytest.approx(2.053e-3, rel=0.1)
    assert floor_s * times.low <= 2.06e-3 <= floor_s * times.high


def test_an_810e_gemv_streams_at_what_was_measured() -> None:
    """1 x 128256 x 4096 in INT8 reads its weights at 2.31 TB/s (FlagGems pull 5972)."""
    shape = Gemm(rows=1, outputs=128256, inputs=4096, weights="int8", weight_bytes=1, arithmetic="int8")
    chip = chip_at(load_catalog().chip("zhenwu-810e"), Case.MID)
    times = calibration_of("zhenwu-810e").factor(shape, chip).times
    assert chip.memory_bytes_per_s / times.mid == pytest.approx(2.31e12, rel=0.05)
