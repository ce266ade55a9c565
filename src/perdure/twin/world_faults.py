"""The records of a run's faults, and the events by which they begin."""

from collections.abc import Sequence

from perdure.compiling import Records
from perdure.twin.fault import Fault
from perdure.twin.kernel_arrays import World
from perdure.twin.kernel_records import BREAK, DRAIN, records
from perdure.twin.kernel_records_beside import FAULT

ON_LOSS = ("resume", "restart", "end")  # by the kernel's numbers


def fault_records(faults: Sequence[Fault]) -> Records:
    """One record for each fault."""
    made = records(len(faults), FAULT)
    for here, fault in zip(made, faults, strict=True):
        here.first_replica = fault.first_replica
        here.last_replica = fault.first_replica + fault.replicas
        here.for_s, here.noticed_s = fault.for_s, fault.noticed_s
        here.slows, here.slowness = fault.slowness is not None, fault.slowness or 1.0
        here.drains, here.drain_s = fault.drain_s is not None, fault.drain_s or 0.0
        here.then = 0 if fault.then is None else fault.then + 1
    return made


def put_faults(world: World, faults: Sequence[Fault]) -> None:
    """Put the beginnings of faults among the events of a fresh world: in order of time they are a heap."""
    first = sorted((fault.at_s, number) for number, fault in enumerate(faults) if not fault.follows)
    clock = world.clock[0]
    for place, (at_s, number) in enumerate(first):
        event = world.events[place]
        event.time_s, event.sequence, event.who = at_s, place + 1, number
        event.kind = DRAIN if faults[number].drain_s is not None else BREAK
    clock.events = clock.sequence = len(first)
    clock.faults = len(faults)
