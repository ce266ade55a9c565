"""How long the batches of a vLLM-like engine take, and what they leave behind.

Continuous batching with chunked prefill: answers under way come first, then prompts in order of admission,
then calls that wait, until the batch has its tokens. Steps that only decode are jumped over in one go.
"""

import math

import numpy as np

from perdure.compiling import inner
from perdure.models.cost_compiled import (
    ALL_TOKENS,
    HEAD_ROWS,
    PROMPT_TOKENS,
    PROMPTS_S,
    READS,
    SEQUENCES,
    TOKENS,
    CompiledTable,
    Floats,
    Integers,
    batch_seconds,
    decode_run,
    prompt_seconds,
)
from perdure.twin.kernel_arrays import World
from perdure.twin.kernel_records import RUNNING
from perdure.twin.kernel_slots import cross_limits, span_shares
from perdure.twin.kernel_tiers import free_oldest

SPANS_MAX = 8


@inner
def table_of(w: World, pool: int) -> CompiledTable:
    """The table of one pool."""
    return CompiledTable(
        w.software_s[pool],
        w.grids[pool],
        w.lines[pool],
        w.decode[pool],
        w.prompt_cells[pool],
        w.context_knots[pool],
    )


@inner
def growth_blocks(
    phases: Integers, replica: int, step: int, steps: int, decoding: int, block_tokens: int
) -> int:
    """Blocks that decoding sequences begin in the `steps` after `step`."""
    cycles, rest = steps // block_tokens, steps % block_tokens
    blocks = cycles * decoding
    for number in range(1, rest + 1):
        blocks += phases[replica, (2 - step - number) % block_tokens]
    return blocks


@inner
def steps_with_room(w: World, replica: int, steps: int, blocks: int, block_tokens: int) -> int:
    """How many of `steps` can be made before decoding sequences want more than `blocks` new ones."""
    rep = w.replicas[replica]
    if growth_blocks(w.phases, replica, rep.step, steps, rep.decoding, block_tokens) <= blocks:
        return steps
    made = min(steps, blocks // rep.decoding * block_tokens)
    left = blocks - growth_blocks(w.phases, replica, rep.step, made, rep.decoding, block_tokens)
    while made < steps:
        left -= w.phases[replica, (1 - rep.step - made) % block_tokens]
        if left < 0:
            break
        made += 1
    return made


@inner
def fill_sums(w: World, replica: int, sums: Floats) -> None:
    """The sums of the batch that is being formed: decodes, and the chunks of prompts."""
    rep = w.replicas[replica]
    pool = w.pools[rep.pool]
    ranks = pool.ranks
    table = table_of(w, rep.pool)
    sums[PROMPT_TOKENS] = 0.0
    sums[PROMPTS_S] = 0.0
    sums[READS : READS + w.decode.shape[1]] = 0.0  # tables of other pools may have more spans
    chunks, tokens, decoding = 0, 0, rep.decoding
    for place in range(rep.prefilling):
        slot = w.slots[replica, w.prompts[replica, place]]
        if slot.chunk == 1 and slot.computed > 0:  # one token after others costs what a decode costs
            decoding += 1
            for span in range(pool.spans):
                sums[READS + span] += span_shares(w, rep.pool, span, slot.computed + 1.0)[0]
        elif slot.chunk > 0:
            chunks += 1
            tokens += slot.chunk
            sums[PROMPT_TOKENS] += slot.computed + slot.chunk
            sums[PROMPTS_S] += prompt_seconds(table, slot.chunk, slot.computed)
    share = 1.0 / max(1, min(ranks, chunks))
    decodes, checked = math.ceil(decoding / ranks), 1 + rep.drafts
    sums[TOKENS] = decodes * checked + tokens * share
    sums[ALL_TOKENS] = decoding * checked + tokens
    sums[HEAD_ROWS] = decodes * checked + chunks * share
    sums[PROMPT_TOKENS] *= share
    sums[PROMPTS_S] *= share
    sums[SEQUENCES] = decodes
    for span in range(pool.spans):
        sums[READS + span] = (w.reads[replica, span] + sums[READS + span]) / max(1, decoding) * decodes
    rep.chunks, rep.chunk_tokens = chunks + decoding - rep.decoding, tokens + decoding - rep.decoding


@inner
def start_batch(w: World, replica: int, steps_max: int, until_s: float) -> None:
    """Compute the batch that was formed: one step with prompts in it, or a run of steps that decode.

    A run ends after `steps_max` steps, or with the step in which `until_s` lies.
    """
    rep = w.replicas[replica]
    sums = w.scratch
    fill_sums(w, replica, sums)
    table = table_of(w, rep.pool)
    if rep.chunks > 0:
        rep.run_steps = 1
        if rep.decoding > 0:
            rep.owed_tokens += rep.step_tokens
            rep.run_steps = int(rep.owed_tokens)
            rep.owed_tokens -= rep.run_steps
        rep.run_s = batch_seconds(table, sums) * rep.slowness + rep.step_s
    else:
        rep.run_steps = steps_max
        rep.run_s = run_seconds(w, replica, steps_max)
        if rep.now_s + rep.run_s > until_s and steps_max > 1:
            cut_run(w, replica, until_s)
    rep.doing = RUNNING
    rep.batches += 1
    set_due(w, replica, rep.now_s + rep.run_s)


@inner
def run_seconds(w: World, replica: int, steps: int) -> float:
    """Seconds of the next `steps` steps that only decode."""
    return run_within(w, replica, steps, math.inf)[1]


@inner
def run_within(w: World, replica: int, steps: int, seconds: float) -> tuple[int, float]:
    """How many of the next steps that only decode fit into `seconds`, and what they take.

    Where drafts are accepted, a step here is a token of each sequence, a part of an engine's step.
    """
    rep = w.replicas[replica]
    pace, step_s = rep.pace, rep.pace_step_s
    spans = w.pools[rep.pool].spans
    sums, growth = w.scratch, w.scratch[READS + SPANS_MAX :]
    fill_sums(w, replica, sums)
    growth[:SPANS_MAX] = 0.0
    for span in range(spans):
        growth[span] = w.growth[replica, span] / rep.decoding * sums[SEQUENCES]
    if step_s > 0.0 and seconds < math.inf:
        # What each step takes on top shortens the time that there is; a step at a time, from an upper bound.
        table = table_of(w, rep.pool)
        made, spent = decode_run(table, sums, growth, steps, seconds / pace)
        while made > 0 and spent * pace + made * step_s > seconds:
            over = spent * pace + made * step_s - seconds
            fewer = max(1, int(over / (spent * pace / made + step_s)))
            made = max(0, made - fewer)
            fill_sums(w, replica, sums)
            made, spent = decode_run(table, sums, growth, made, math.inf)
        return made, spent * pace + made * step_s
    table = table_of(w, rep.pool)
    made, spent = decode_run(table, sums, growth, steps, seconds / pace)
    return made, spent * pace + made * step_s


@inner
def cut_run(w: World, replica: int, until_s: float) -> None:
    """End a run of decode steps with the step in which `until_s` lies: something new is looked at then."""
    rep = w.replicas[replica]
    if rep.chunks > 0 or rep.run_steps <= 1:
        return
    made, spent_s = run_within(w, replica, rep.run_steps, until_s - rep.now_s)
    steps = made
    if made == 0 or rep.now_s + spent_s < until_s:
        steps = made + 1
        if rep.drafts > 0:
            steps = max(steps, math.ceil((math.floor(made / rep.step_tokens) + 1) * rep.step_tokens))
        steps = min(steps, rep.run_steps)
    if steps < rep.run_steps:
        rep.run_s = run_seconds(w, replica, steps)
        rep.run_steps = steps
        set_due(w, replica, rep.now_s + rep.run_s)


@inner
def set_due(w: World, replica: int, due_s: float) -> None:
    """Say when a replica has something to do next, and play its matches in the tournament again."""
    w.due_s[replica] = due_s
    place = (len(w.winners) >> 1) + replica
    place >>= 1
    while place > 0:
        left, right = w.winners[2 * place], w.winners[2 * place + 1]
        w.winners[place] = right if w.due_s[right] < w.due_s[left] else left
        place >>= 1


@inner
def end_steps(w: World, replica: int) -> None:
    """The batch is computed: decodes have grown, blocks were begun, what must go goes."""
    rep = w.replicas[replica]
    log_busy(w, replica, rep.run_steps)
    rep.busy_s += rep.run_s
    if rep.running > rep.loading:
        rep.share_s += rep.run_s / (rep.running - rep.loading)
    # With prompts in the batch, answers that end among the tokens of one step end one by one.
    grow_decodes(w, replica, rep.run_steps if rep.chunks == 0 else np.int64(1))


@inner
def grow_decodes(w: World, replica: int, steps: int) -> None:
    """Every decode has made so many tokens more."""
    rep = w.replicas[replica]
    rep.steps += steps
    if rep.decoding > 0:
        pool, holder = w.pools[rep.pool], w.holders[rep.holder]
        grown = growth_blocks(w.phases, replica, rep.step, steps, rep.decoding, pool.block_tokens)
        holder.used_blocks += grown - rep.grown
        rep.grown = 0
        if holder.used_blocks > holder.capacity_blocks:
            free_oldest(w, rep.holder, np.int64(0), w.clock[0].now_s)
        holder.peak_blocks = max(holder.peak_blocks, holder.used_blocks)
        for span in range(pool.spans):
            w.reads[replica, span] += w.growth[replica, span] * steps
    rep.step += steps
    rep.output_tokens += steps * rep.decoding
    if rep.decoding > 0:
        cross_limits(w, replica)


@inner
def octave(number: float, last: int) -> int:
    """Powers of two in `number`, at most `last`."""
    if number < 1.0:
        return 0
    return min(last, math.frexp(number)[1])


@inner
def log_busy(w: World, replica: int, steps: int) -> None:
    """Add the batch's seconds to the log from which energy is worked out afterwards."""
    rep = w.replicas[replica]
    mean = w.reads[replica, 0] / max(1, rep.decoding)
    if rep.chunks > 0:
        tokens = octave(float(rep.chunk_tokens), w.mixed.shape[1] - 1)
        w.mixed[rep.pool, tokens, octave(mean, w.mixed.shape[2] - 1)] += rep.run_s
    else:
        sequences = octave(float(rep.decoding), w.busy.shape[1] - 1)
        w.busy[rep.pool, sequences, octave(mean, w.busy.shape[2] - 1)] += rep.run_s
