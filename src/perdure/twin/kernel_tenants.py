"""How many calls each tenant may have under way; what is beyond that waits outside, in order of arrival."""

import numpy as np

from perdure.compiling import inner
from perdure.twin.kernel_arrays import World
from perdure.twin.kernel_heap import push_event
from perdure.twin.kernel_records import OUTSIDE, QUOTA


@inner
def must_wait(w: World, number: int) -> bool:
    """Whether a call's tenant has as many under way as it may; then the call is put behind the others."""
    session = w.sessions[number]
    tenant = w.tenants[w.programs[session.program].tenant]
    if tenant.limit == 0 or tenant.under_way < tenant.limit:
        tenant.under_way += 1
        return False
    session.doing = OUTSIDE
    session.next_waiting = 0
    if tenant.last_waiting != 0:
        w.sessions[tenant.last_waiting - 1].next_waiting = number + 1
    else:
        tenant.first_waiting = number + 1
    tenant.last_waiting = number + 1
    tenant.waiting += 1
    return True


@inner
def call_ended(w: World, number: int) -> None:
    """A tenant has a call less under way: the next one of those that wait may go, after this event."""
    clock, tenant = w.clock[0], w.tenants[number]
    tenant.under_way -= 1
    if tenant.waiting > 0:
        clock.sequence += 1
        clock.events = push_event(
            w.events, clock.events, clock.now_s, clock.sequence, np.int64(QUOTA), number
        )


@inner
def next_within_quota(w: World, number: int) -> int:
    """The session + 1 of a tenant that may go now; 0 where none waits or may."""
    tenant = w.tenants[number]
    here = tenant.first_waiting
    if here == 0 or tenant.under_way >= tenant.limit:
        return 0
    tenant.first_waiting = w.sessions[here - 1].next_waiting
    if tenant.first_waiting == 0:
        tenant.last_waiting = 0
    tenant.waiting -= 1
    tenant.under_way += 1
    return here
