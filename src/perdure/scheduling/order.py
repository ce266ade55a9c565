"""In what order the calls that wait for an engine run.

An order gives a score to each waiting call; the lowest goes first, ties go to the call that arrived first.
In each but `priority` a call's score falls as it waits, so that nobody waits forever.
"""

from perdure.scheduling.facts import Waiting

# Ten seconds of waiting pay for one second of service that the program had.
WAITED_PER_ATTAINED = 10.0
# The same exchange where work is counted in tokens: an engine works off about 2,000 of them in a second.
AGEING_TOKENS_PER_S = 200.0
# One token of an answer takes about what four of a prompt take; providers price the two likewise, at three
# to five to one.
PROMPT_TOKENS_PER_OUTPUT_TOKEN = 4.0
# Calls in half of all coding-agent sessions (kv-cache-tester, 683 sessions): what is presumed where nothing
# is declared, so that saying nothing is no way to the front.
TURNS_UNDECLARED = 43.0
# A returned tool is worth ten minutes of waiting, not all eternity.
TOOL_RETURN_S = 600.0
# Only parts calls of one program, whose ages are equal; between programs a thousandth of a second is nothing.
CRITICAL_TURN_S = 0.001
# Eleven days: no wait outweighs a level of priority.
PRIORITY_S = 1e6


def fcfs(call: Waiting) -> float:
    """First come, first served."""
    return -call.waited_s


def program_fcfs(call: Waiting) -> float:
    """The call of the program that came first; a program once begun is carried to its end."""
    return -call.program_age_s


def plas(call: Waiting) -> float:
    """Programs that have had least go first, and age while they wait.

    PLAS of Autellix (arXiv 2502.13965), without its discrete queues: there they keep preemption rare, and
    here nothing that runs is preempted by the order.
    """
    return call.program_attained_s - call.waited_s / WAITED_PER_ATTAINED


def atlas(call: Waiting) -> float:
    """Chains of calls that have had least go first, and age while they wait.

    ATLAS of Autellix (arXiv 2502.13965): a program that fans out is charged for its longest chain, not for
    the sum of its branches. As far as a fork's `session_attained_s` starts with its parent's.
    """
    return call.session_attained_s - call.waited_s / WAITED_PER_ATTAINED


def srpt(call: Waiting) -> float:
    """The session with the least work left: declared turns, each as large as this one.

    Where no turns are declared, a usual number of them is presumed, and the smaller call goes first.
    """
    turns = max(call.turns_left, 1.0) if call.declared else TURNS_UNDECLARED
    turn_tokens = call.uncached_tokens + PROMPT_TOKENS_PER_OUTPUT_TOKEN * call.output_tokens_expected
    return turns * turn_tokens - AGEING_TOKENS_PER_S * call.waited_s


def tool_return_first(call: Waiting) -> float:
    """Calls that bring back a tool's result go before others, whose contexts are not in memory anyway."""
    return -call.waited_s - (TOOL_RETURN_S if call.tool_return else 0.0)


def critical_path(call: Waiting) -> float:
    """The oldest program first, and within it the call with the longest declared chain behind it.

    What a sub-agent off that chain does cannot end the program sooner. Without declarations: `program_fcfs`.
    """
    chain_turns = call.critical_turns if call.declared else 0.0
    return -call.program_age_s - CRITICAL_TURN_S * chain_turns


def priority(call: Waiting) -> float:
    """The client's own priority first, then first come, first served."""
    return -PRIORITY_S * call.priority - call.waited_s
