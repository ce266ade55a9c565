"""Whether a program may begin, or go on after it was set aside: 1 now, 0 not yet.

On recorded agents no eviction rule made up for too many contexts at once; fewer active programs did
(ThunderAgent, arXiv 2602.13692; agentic-kv-cache over 393 sessions). The question comes again as others end.
"""

from perdure.scheduling.facts import Entering

# ThunderAgent sets programs aside above 0.95 of the pool and resumes them 0.10 below that, so that what
# was let in can grow before it is set aside again.
OVERFULL_SHARE = 0.95
FULL_SHARE = 0.85
# And lets a program in after half an hour, whatever the pool holds.
FORCED_S = 1800.0
# The prompt of half of all coding-agent calls (kv-cache-tester: 100,464).
CONTEXT_TOKENS_TYPICAL = 100_000.0


def everyone(program: Entering) -> int:
    """Always: the engine alone decides what fits."""
    return 1


def working_set(program: Entering) -> int:
    """While the contexts of all active programs fit the pool's KV, what they share counted once.

    ThunderAgent's rule (arXiv 2602.13692): once they have outgrown it, whichever returns from a tool next is
    set aside. Counting a shared prefix once for each program would hold programs back for nothing (ai-dynamo
    #15105). A program alone is always let in, and so is one that waited for long.
    """
    if program.active_programs <= program.active or program.waited_s >= FORCED_S:
        return 1
    if program.active:
        return 1 if program.active_context_tokens <= OVERFULL_SHARE * program.capacity_tokens else 0
    own_tokens = program.context_tokens - program.shared_tokens + program.output_tokens_expected
    return 1 if program.active_context_tokens + own_tokens <= FULL_SHARE * program.capacity_tokens else 0


def cap(program: Entering) -> int:
    """A fixed number of programs: as many typical contexts as the pool holds, whatever theirs really are.

    What an operator does by hand; the control that shows what `working_set` gains by counting.
    """
    if program.active or program.active_programs == 0:
        return 1
    return 1 if (program.active_programs + 1) * CONTEXT_TOKENS_TYPICAL <= program.capacity_tokens else 0
