"""In what order the calls that wait for an engine run.

An order is one function of what a live server knows of a waiting call. It gives a score; the lowest goes
first, and ties go to the call that arrived first. Its arithmetic is `+ - * /`, `min`, `max` and
comparisons, on which Python and compiled code agree, so that a twin can run the very same function.
"""

from collections.abc import Callable
from typing import NamedTuple


class Waiting(NamedTuple):
    """What a live server knows of a call that waits.

    waited_s           since it was ready to run
    prompt_tokens      counted, not estimated
    max_output_tokens  the most that it may generate; how long the answer will be, nobody knows
    """

    waited_s: float
    prompt_tokens: int
    max_output_tokens: int


Order = Callable[[Waiting], float]


def fcfs(call: Waiting) -> float:
    """First come, first served."""
    return -call.waited_s
