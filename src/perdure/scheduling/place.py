"""Which replica a call goes to.

A place gives a score to each replica; the lowest wins, and ties go to the lower index. Taking turns and
throwing dice are not among these: the first needs a memory and the second chance, and a policy has neither.
"""

from perdure.scheduling.facts import Candidate

# Above any load that is counted in seconds: a replica so far away is taken only when all are.
ELSEWHERE_S = 1e12
# A replica whose memory is full of contexts decodes about half as fast as an empty one: a step reads the
# weights and all contexts, and where memory was bought for agents the two are alike in size.
FULL_SLOWDOWN = 1.0


def least_load(candidate: Candidate) -> float:
    """The replica with the fewest calls that have not ended."""
    return float(candidate.running + candidate.waiting)


def prefix_affinity(candidate: Candidate) -> float:
    """Where the prompt's prefix is held, if that is most of the prompt; where it costs least, otherwise.

    The exploit and explore rule (E2) of Preble (arXiv 2407.00023). Its cost is the replica's recent work,
    plus this prompt's, plus computing anew what the prompt pushes out. Not its shifting of load from the
    heaviest replica to the lightest: a policy sees one replica at a time.
    """
    uncached_tokens_best = candidate.prompt_tokens - candidate.cached_tokens_best
    if candidate.cached_tokens_best > uncached_tokens_best:
        elsewhere = candidate.cached_tokens < candidate.cached_tokens_best
        return candidate.recent_s + (ELSEWHERE_S if elsewhere else 0.0)
    uncached_tokens = candidate.prompt_tokens - candidate.cached_tokens
    return candidate.recent_s + (uncached_tokens + _evicted_tokens(candidate)) * candidate.prefill_s_per_token


def soft_affinity(candidate: Candidate) -> float:
    """Where the answer is expected to be complete first: a held prefix counts for what it saves, not more.

    Seconds of prompts queued before it, of the prompt's own uncached part and of what it evicts, then of the
    answer, slower the fuller the replica is. Hard affinity thrashes one replica under load (prime-rl #3255).
    """
    uncached_tokens = candidate.prompt_tokens - candidate.cached_tokens
    prefill_tokens = candidate.queued_tokens + uncached_tokens + _evicted_tokens(candidate)
    fullness = candidate.context_tokens / max(candidate.capacity_tokens, 1.0)
    decode_s = candidate.output_tokens_expected * candidate.decode_s_per_token
    return prefill_tokens * candidate.prefill_s_per_token + decode_s * (1.0 + FULL_SLOWDOWN * fullness)


def hard_affinity(candidate: Candidate) -> float:
    """Where the session's last call went, whatever the load; its first call by least load. A control."""
    if candidate.home:
        return -1.0
    return float(candidate.running + candidate.waiting)


def _evicted_tokens(candidate: Candidate) -> float:
    """Tokens that the call would push out of a full replica: at most those that it brings, with its answer.

    Bounded by that, a replica that is overfull repels a call that would bring its whole context, and not one
    whose context is there: a session must not change replicas each time one has a call more than the other.
    """
    brought_tokens = candidate.prompt_tokens - candidate.cached_tokens + candidate.output_tokens_expected
    over_tokens = candidate.context_tokens + brought_tokens - candidate.capacity_tokens
    return min(max(over_tokens, 0.0), brought_tokens)
