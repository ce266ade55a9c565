"""Roofline and link times, against counts on paper."""

import pytest

from perdure.catalog.figure import Case
from perdure.catalog.load import load_catalog
from perdure.errors import BadRequest
from perdure.models.architecture import architecture_of
from perdure.models.cost import decode_work, prefill_work
from perdure.models.precision import PRECISIONS
from perdure.silicon.chip import Chip, Link, chip_at, link_at
from perdure.silicon.collectives import AllReduce, all_reduce_floor
from perdure.silicon.roofline import Operation, floor_of, operation_floor

CHIP = Chip(name="test", memory_bytes=1e9, memory_bytes_per_s=1e12, flops_per_s={"bf16": 1e15}, launch_s=1e-6)


def test_an_operation_takes_the_slower_of_compute_and_memory_plus_launch() -> None:
    """Ledger: 2e12 FLOP at 1e15/s are 2 ms, 1e9 bytes at 1e12/s are 1 ms; the launch adds 1 us."""
    operation = Operation(name="x", flops=2e12, bytes_moved=1e9, arithmetic="bf16", repeats=3)
    spent = operation_floor(operation, CHIP)
    assert spent.compute_s == pytest.approx(3 * 2e-3)
    assert spent.memory_s == 0
    assert spent.launch_s == pytest.approx(3e-6)
    assert spent.bound == "compute"


def test_arithmetic_that_a_chip_lacks_is_refused() -> None:
    """An H200 has no FP4: the message says what it has."""
    h200 = chip_at(load_catalog().chip("nvidia-h200"), Case.MID)
    with pytest.raises(BadRequest, match=r"H200 does not compute in fp4.*bf16 or fp8 or int8"):
        operation_floor(Operation(name="x", flops=1, bytes_moved=1, arithmetic="fp4"), h200)


def test_decode_floor_on_an_h200_is_bytes_over_bandwidth() -> None:
    """Ledger: Qwen3-32B in BF16 at context 1,000 moves 63,968,421,888 + 262,144,000 B at 4.8 TB/s: 13.38 ms.

    Launches come on top: 5 operations in each of 64 layers and the head, 321 of 3 us.
    """
    h200 = chip_at(load_catalog().chip("nvidia-h200"), Case.MID)
    qwen = architecture_of(load_catalog().model("qwen3-32b"))
    spent = floor_of(decode_work(qwen, PRECISIONS["bf16"], context_tokens=1000).operations, h200)
    assert spent.memory_s == pytest.approx((63_968_421_888 + 262_144_000) / 4.8e12)
    assert spent.launch_s == pytest.approx(321 * 3e-6)
    assert spent.bound == "memory"


def test_a_long_prefill_on_an_h200_is_bound_by_compute() -> None:
    """Ledger: 4,096 tokens of Qwen3-32B are at least 2 * 4096 * 31.2 B FLOP at 989 TFLOP/s, 0.26 s."""
    h200 = chip_at(load_catalog().chip("nvidia-h200"), Case.MID)
    qwen = architecture_of(load_catalog().model("qwen3-32b"))
    spent = floor_of(
        prefill_work(qwen, PRECISIONS["bf16"], new_tokens=4096, cached_tokens=0).operations, h200
    )
    linear_s = 2 * 4096 * (32_762_123_264 - 2 * 151_936 * 5120 - 5120) / 989e12
    attention_s = 64 * 4 * (4096 * 4097 / 2) * 64 * 128 / 989e12
    assert spent.compute_s == pytest.approx(linear_s + attention_s)
    assert spent.bound == "compute"


def test_a_gibibyte_between_two_m890s() -> None:
    """Ledger: 2^30 bytes at the measured 384.15 GB/s take 2.795 ms."""
    catalog = load_catalog()
    link = link_at(catalog.rack("al128"), catalog.chip("zhenwu-m890"), Case.MID)
    assert 2**30 / link.bytes_per_s == pytest.approx(2.7951e-3, rel=1e-4)
    assert link.step_s == pytest.approx(5.15e-6)  # 5 us of software and 150 ns of switch


def test_all_reduce_takes_the_better_closed_form() -> None:
    """Ledger: 64 chips at 400 GB/s, 2 us a step: 16 KiB in one step, 64 MiB in two."""
    link = Link(bytes_per_s=400e9, step_s=2e-6)
    small = all_reduce_floor(AllReduce(message_bytes=1024, chips=64), link)
    assert small.link_s == pytest.approx(2e-6 + 63 * 1024 / 400e9)
    large = all_reduce_floor(AllReduce(message_bytes=2**26, chips=64), link)
    assert large.link_s == pytest.approx(4e-6 + 2 * 63 / 64 * 2**26 / 400e9)
    assert all_reduce_floor(AllReduce(message_bytes=2**26, chips=1), link).link_s == 0


def test_a_decode_step_of_the_2_4t_model_on_a_domain_of_m890s() -> None:
    """Ledger: 184 all-reduces of 16 KiB (8192 channels of 2 bytes) among 64 chips, two to a layer."""
    catalog = load_catalog()
    qwen = architecture_of(catalog.model("qwen3.8-2.4t-a95b"))
    work = decode_work(qwen, PRECISIONS["mxfp4-fp8"], context_tokens=1000, chips=64)
    link = link_at(catalog.rack("al128"), catalog.chip("zhenwu-m890"), Case.MID)
    spent = all_reduce_floor(work.reduces[0], link)
    assert spent.link_s == pytest.approx(184 * (5.15e-6 + 63 * 16_384 / 384.15e9))
