"""How long chips take to add up what each of them holds, at best, over a non-blocking switch."""

from dataclasses import dataclass

from perdure.silicon.chip import Link
from perdure.silicon.roofline import Spent


@dataclass(frozen=True, slots=True, kw_only=True)
class AllReduce:
    """Every one of `chips` ends up with the sum of the `message_bytes` that each held, `repeats` times."""

    message_bytes: float
    chips: int
    repeats: int = 1


def all_reduce_floor(reduce: AllReduce, link: Link) -> Spent:
    """Lower bound on an all-reduce in a domain where every chip reaches every other in one step.

    The better of two closed forms. In one step each chip sends its whole message to all others:
    step + (n-1) m/b. In two, it scatters sums and gathers them: 2 step + 2 (n-1)/n m/b.
    """
    others = reduce.chips - 1
    if others <= 0:
        return Spent()
    message_s = reduce.message_bytes / link.bytes_per_s
    one_step_s = link.step_s + others * message_s
    two_steps_s = 2 * link.step_s + 2 * others / reduce.chips * message_s
    return Spent(link_s=min(one_step_s, two_steps_s) * reduce.repeats)
