"""What holds for every chip, model and call: faster parts, more cache and more chips never cost more."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.catalog.load import load_catalog
from perdure.models.architecture import Architecture, architecture_of
from perdure.models.cost import decode_work, prefill_work
from perdure.models.precision import PRECISIONS
from perdure.silicon.chip import Chip, Link
from perdure.silicon.collectives import AllReduce, all_reduce_floor
from perdure.silicon.roofline import Operation, floor_of, operation_floor

MODELS = [
    architecture_of(entry)
    for entry in load_catalog().entries["models"].values()
    if not entry.text("stand_in")
]
BF16 = PRECISIONS["bf16"]

models = st.sampled_from(MODELS)
rates = st.floats(1e9, 1e16)
times = st.floats(1e-9, 1e-3)
tokens = st.integers(1, 100_000)
chips = st.builds(
    lambda memory, flops, launch: Chip(
        name="any",
        memory_bytes=1e12,
        memory_bytes_per_s=memory,
        flops_per_s={"bf16": flops, "fp8": 2 * flops},
        launch_s=launch,
    ),
    rates,
    rates,
    times,
)
operations = st.builds(
    lambda flops, moved: Operation(name="any", flops=flops, bytes_moved=moved, arithmetic="bf16"),
    st.floats(0, 1e18),
    st.floats(0, 1e13),
)
faster = st.floats(1, 100)


@given(operation=operations, chip=chips, factor=faster, part=st.sampled_from(["memory", "compute", "launch"]))
def test_a_faster_part_never_makes_an_operation_slower(
    operation: Operation, chip: Chip, factor: float, part: str
) -> None:
    """Law: raising a peak, or cutting the launch, never adds time."""
    better = {
        "memory": replace(chip, memory_bytes_per_s=chip.memory_bytes_per_s * factor),
        "compute": replace(chip, flops_per_s={"bf16": chip.flops_per_s["bf16"] * factor}),
        "launch": replace(chip, launch_s=chip.launch_s / factor),
    }[part]
    assert operation_floor(operation, better).seconds <= operation_floor(operation, chip).seconds * (1 + 1e-9)


@given(operation=operations, chip=chips)
def test_no_operation_beats_the_roofline(operation: Operation, chip: Chip) -> None:
    """Law: neither compute nor memory is ever faster than its peak, and every second has one cause."""
    spent = operation_floor(operation, chip)
    assert spent.seconds * chip.flops_per_s["bf16"] * (1 + 1e-9) >= operation.flops
    assert spent.seconds * chip.memory_bytes_per_s * (1 + 1e-9) >= operation.bytes_moved
    assert spent.seconds == pytest.approx(sum(seconds for _, seconds in spent.shares))


@given(model=models, chip=chips, prompt=st.integers(2, 100_000), share=st.floats(0, 1), more=st.floats(0, 1))
def test_more_cached_tokens_never_make_a_prefill_slower(
    model: Architecture, chip: Chip, prompt: int, share: float, more: float
) -> None:
    """Law: of the same prompt, computing fewer tokens never takes longer."""
    few = min(prompt - 1, int(share * prompt))
    many = min(prompt - 1, few + int(more * (prompt - few)))
    slow, fast = (
        floor_of(
            prefill_work(model, BF16, new_tokens=prompt - cached, cached_tokens=cached).operations, chip
        ).seconds
        for cached in (few, many)
    )
    assert fast <= slow * (1 + 1e-9)


@given(model=models, chip=chips, first=tokens, steps=st.integers(1, 40))
def test_the_mean_step_stands_for_a_run_of_steps(
    model: Architecture, chip: Chip, first: int, steps: int
) -> None:
    """Law: decode at the mean context, times the steps, is the sum of the steps one by one."""
    one_by_one = sum(
        floor_of(decode_work(model, BF16, context_tokens=first + step).operations, chip).seconds
        for step in range(steps)
    )
    mean = decode_work(model, BF16, context_tokens=first + (steps - 1) / 2)
    assert floor_of(mean.operations, chip).seconds * steps == pytest.approx(one_by_one, rel=1e-9)


@given(model=models, chip=chips, new=tokens, cached=st.integers(0, 100_000), ways=st.sampled_from([2, 8, 64]))
def test_splitting_never_beats_an_even_share(
    model: Architecture, chip: Chip, new: int, cached: int, ways: int
) -> None:
    """Law: a chip of several does at least its part of the work, and never more than all of it."""
    whole = floor_of(prefill_work(model, BF16, new_tokens=new, cached_tokens=cached).operations, chip).seconds
    part = floor_of(
        prefill_work(model, BF16, new_tokens=new, cached_tokens=cached, chips=ways).operations, chip
    ).seconds
    assert whole / ways <= part * (1 + 1e-9)
    assert part <= whole * (1 + 1e-9)


@given(
    message=st.floats(1, 1e10),
    ways=st.integers(2, 128),
    bandwidth=st.floats(1e9, 1e13),
    step=times,
    factor=faster,
)
def test_a_better_link_never_makes_an_all_reduce_slower(
    message: float, ways: int, bandwidth: float, step: float, factor: float
) -> None:
    """Law: more bandwidth or a shorter step never adds time, and no byte beats the wire."""
    reduce = AllReduce(message_bytes=message, chips=ways)
    base = all_reduce_floor(reduce, Link(bytes_per_s=bandwidth, step_s=step)).seconds
    wider = all_reduce_floor(reduce, Link(bytes_per_s=bandwidth * factor, step_s=step)).seconds
    shorter = all_reduce_floor(reduce, Link(bytes_per_s=bandwidth, step_s=step / factor)).seconds
    assert max(wider, shorter) <= base * (1 + 1e-9)
    assert base * bandwidth >= message * (1 - 1e-9)
