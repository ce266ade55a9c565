"""Laws of the queue: never more than the slots run, nobody is forgotten, order is the order function's."""

import asyncio
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.clock import VirtualClock
from perdure.errors import Busy
from perdure.platform.scheduler import Scheduler
from perdure.scheduling.facts import Waiting
from perdure.scheduling.order import fcfs


@given(
    slots=st.integers(1, 4),
    lengths=st.lists(st.integers(0, 5), min_size=1, max_size=12),
    cancelled=st.sets(st.integers(0, 11), max_size=6),
)
def test_slots_are_never_exceeded_and_never_lost(slots: int, lengths: list[int], cancelled: set[int]) -> None:
    """Law: whatever is cancelled when, at most `slots` run at once and all the others are served."""

    async def world() -> None:
        scheduler = Scheduler(slots=slots, clock=VirtualClock())
        served: list[int] = []

        async def call(index: int) -> None:
            async with scheduler.turn(prompt_tokens=1, max_output_tokens=1):
                assert scheduler.running <= slots
                for _ in range(lengths[index]):
                    await asyncio.sleep(0)
                served.append(index)

        tasks = [asyncio.create_task(call(index)) for index in range(len(lengths))]
        await asyncio.sleep(0)
        for index in sorted(cancelled):
            if index < len(tasks):
                tasks[index].cancel()
            await asyncio.sleep(0)
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
        assert scheduler.running == 0
        kept = {index for index in range(len(lengths)) if index not in cancelled}
        assert kept <= set(served)

    asyncio.run(world())


@given(prompts=st.lists(st.integers(1, 9), min_size=1, max_size=10))
def test_the_order_function_decides(prompts: list[int]) -> None:
    """Law: with one slot, calls run in the order of their scores, and by arrival where scores tie."""

    def shortest(call: Waiting) -> float:
        return call.prompt_tokens

    async def world() -> list[int]:
        scheduler = Scheduler(slots=1, clock=VirtualClock(), order=shortest)
        served: list[int] = []

        async def call(index: int, prompt_tokens: int) -> None:
            async with scheduler.turn(prompt_tokens=prompt_tokens, max_output_tokens=1):
                served.append(index)
                await asyncio.sleep(0)

        async with scheduler.turn(prompt_tokens=1, max_output_tokens=1):
            tasks = [asyncio.create_task(call(*waiting)) for waiting in enumerate(prompts)]
            await asyncio.sleep(0)
        await asyncio.gather(*tasks)
        return served

    expected = [index for _, index in sorted((length, index) for index, length in enumerate(prompts))]
    assert asyncio.run(world()) == expected


@given(waits=st.lists(st.floats(0, 1e6), min_size=1, max_size=10))
def test_first_come_is_first_served(waits: list[float]) -> None:
    """Law: whoever has waited longest has the lowest score."""
    calls = [Waiting(waited_s=wait, prompt_tokens=1, max_output_tokens=1) for wait in waits]
    assert min(calls, key=fcfs).waited_s == max(waits)


def test_a_full_queue_is_busy() -> None:
    """Beyond slots and waiting calls, a place is refused with a time to come back; one left is free again."""
    scheduler = Scheduler(slots=1, clock=VirtualClock(), waiting_calls_max=1)
    with scheduler.place(), scheduler.place():
        with pytest.raises(Busy) as busy, scheduler.place():
            pass
        assert busy.value.retry_after_s >= 1
    with scheduler.place():
        pass
