"""What a server learns as it goes: how long answers are, and how long the gaps between calls."""

import math

from perdure.compiling import inner
from perdure.twin.kernel_arrays import World
from perdure.twin.kernel_records import GAP_BINS, GAP_SUM

BINS_PER_OCTAVE = 4
SHORTEST_GAP_S = 0.1
LEARNED_SHARE = 0.2  # of the newest answer in the running mean of a session's answers
POOL_SHARE = 0.02


@inner
def learn_output(w: World, number: int) -> None:
    """Take the length of a complete answer into the running means of its session and pool."""
    session = w.sessions[number]
    pool = w.pools[session.pool]
    tokens = float(w.turns[session.turn].output)
    share = LEARNED_SHARE if session.output_count > 0 else 1.0
    session.output_mean += (tokens - session.output_mean) * share
    session.output_count += 1
    share = max(POOL_SHARE, 1.0 / (1.0 + pool.output_count))
    pool.output_mean += (tokens - pool.output_mean) * share
    pool.output_count += 1


@inner
def learn_gap(w: World, tool: bool, gap_s: float) -> None:
    """Count a gap that has ended."""
    place = 0
    if gap_s > SHORTEST_GAP_S:
        place = min(GAP_BINS - 1, 1 + int(BINS_PER_OCTAVE * math.log2(gap_s / SHORTEST_GAP_S)))
    w.gaps[1 if tool else 0, place] += 1.0
    w.gaps[1 if tool else 0, GAP_SUM] += gap_s


@inner
def gap_mean_s(w: World, tool: bool) -> float:
    """The mean of the gaps of this kind so far; a second where none was seen."""
    kind = 1 if tool else 0
    seen = w.gaps[kind, :GAP_BINS].sum()
    return w.gaps[kind, GAP_SUM] / seen if seen > 0.0 else 1.0


@inner
def gap_quantile_s(w: World, tool: bool, share: float) -> float:
    """The gap of this kind that `share` of those seen so far did not exceed; a second where none was seen."""
    kind = 1 if tool else 0
    seen = w.gaps[kind, :GAP_BINS].sum()
    if seen == 0.0:
        return 1.0
    wanted, found = share * seen, 0.0
    for place in range(GAP_BINS):
        found += w.gaps[kind, place]
        if found >= wanted:
            return SHORTEST_GAP_S * 2.0 ** (place / BINS_PER_OCTAVE)
    return SHORTEST_GAP_S * 2.0 ** (GAP_BINS / BINS_PER_OCTAVE)
