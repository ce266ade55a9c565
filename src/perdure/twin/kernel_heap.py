"""Queues by time for compiled code: events of the run, and steps at which answers end."""

import numpy as np

from perdure.compiling import Records, inner

# An event: when, in what order it was made (ties), what, and of whom.
EVENT = np.dtype(
    [("time_s", np.float64), ("sequence", np.int64), ("kind", np.int64), ("who", np.int64)], align=True
)
# What ends at a step: a slot of a replica, of those at the same step the one that was admitted first.
ENDING = np.dtype([("step", np.int64), ("admitted", np.int64), ("slot", np.int64)], align=True)


@inner
def push_event(heap: Records, count: int, time_s: float, sequence: int, kind: int, who: int) -> int:
    """Put an event into a heap of `count`; the new count."""
    place = count
    while place > 0:
        above = (place - 1) >> 1
        parent = heap[above]
        if parent.time_s < time_s or (parent.time_s == time_s and parent.sequence < sequence):
            break
        heap[place] = parent
        place = above
    entry = heap[place]
    entry.time_s = time_s
    entry.sequence = sequence
    entry.kind = kind
    entry.who = who
    return count + 1


@inner
def pop_event(heap: Records, count: int) -> int:
    """Take the first event out of a heap of `count`; the new count."""
    last = heap[count - 1]
    time_s, sequence, kind, who = last.time_s, last.sequence, last.kind, last.who
    count -= 1
    place = 0
    while True:
        below = 2 * place + 1
        if below >= count:
            break
        if below + 1 < count:
            left, right = heap[below], heap[below + 1]
            if right.time_s < left.time_s or (right.time_s == left.time_s and right.sequence < left.sequence):
                below += 1
        child = heap[below]
        if time_s < child.time_s or (time_s == child.time_s and sequence < child.sequence):
            break
        heap[place] = child
        place = below
    entry = heap[place]
    entry.time_s = time_s
    entry.sequence = sequence
    entry.kind = kind
    entry.who = who
    return count


@inner
def push_ending(heap: Records, count: int, step: int, admitted: int, slot: int) -> int:
    """Put a slot that ends at `step` into a heap of `count`; ties by admission. The new count."""
    place = count
    while place > 0:
        above = (place - 1) >> 1
        parent = heap[above]
        if parent.step < step or (parent.step == step and parent.admitted < admitted):
            break
        heap[place] = parent
        place = above
    entry = heap[place]
    entry.step = step
    entry.admitted = admitted
    entry.slot = slot
    return count + 1


@inner
def pop_ending(heap: Records, count: int) -> int:
    """Take the first ending out of a heap of `count`; the new count."""
    last = heap[count - 1]
    step, admitted, slot = last.step, last.admitted, last.slot
    count -= 1
    place = 0
    while True:
        below = 2 * place + 1
        if below >= count:
            break
        if below + 1 < count:
            left, right = heap[below], heap[below + 1]
            if right.step < left.step or (right.step == left.step and right.admitted < left.admitted):
                below += 1
        child = heap[below]
        if step < child.step or (step == child.step and admitted < child.admitted):
            break
        heap[place] = child
        place = below
    entry = heap[place]
    entry.step = step
    entry.admitted = admitted
    entry.slot = slot
    return count


@inner
def drop_ending(heap: Records, count: int, slot: int) -> int:
    """Take `slot` out of a heap of `count`, wherever it lies; the new count. Rare: one look at each."""
    kept = 0
    for place in range(count):
        entry = heap[place]
        step, admitted, other = entry.step, entry.admitted, entry.slot
        if other != slot:
            kept = push_ending(heap, kept, step, admitted, other)
    return kept
