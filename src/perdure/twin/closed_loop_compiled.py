"""How long clients of a closed loop wait at one replica, under the scheduler of vLLM, TensorRT-LLM or SGLang.

Every client sends its next request when its last one is answered. Nothing is shared between prompts. Steps
that only decode are jumped over in one go, at the price of the middle one. Compiled: a server must not import
this.
"""

import math
from typing import NamedTuple

import numpy as np

from perdure.compiling import compiled
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
    prompt_seconds,
)

STEPS_MAX = 10_000_000


class Replica(NamedTuple):
    """One replica and what its scheduler does.

    every, limits   of each span of attention: entries that a context `c` shows are min(c / every, limit)
    ranks           that attend apart
    step_tokens_max tokens of a step, or of its prompts where those run alone
    room_tokens     of KV; a request is taken when its prompt and its whole answer have room
    sequences_max   at once
    mixed           whether prompts are computed beside decodes; otherwise decodes wait for them
    chunked         whether a prompt that does not fit into a step is cut
    overlapped      whether a step is scheduled while the one before it runs
    receive_steps   how many steps that only decode pass between two looks at what has come in
    prefill_times   a prompt's own kernels over their timings
    """

    table: CompiledTable
    every: Floats
    limits: Floats
    ranks: int
    step_tokens_max: int
    room_tokens: float
    sequences_max: int
    mixed: bool
    chunked: bool
    overlapped: bool
    receive_steps: int
    prefill_times: float


class Requests(NamedTuple):
    """All requests, in the order in which they are sent, and where the replica is; only the loop changes it.

    sent_s, first_s, ended_s  when each was sent, had its first token, and its last one
    computed    tokens of its prompt that are there
    last_step   the step after which its answer is complete
    running     requests that decode, `at[DECODING]` of them
    chunks      (new, cached) of the step that is formed; ending: requests whose prompts end with it
    clock       seconds, and sums, by the names below; at: counts likewise
    """

    prompts: Integers
    answers: Integers
    sent_s: Floats
    first_s: Floats
    ended_s: Floats
    computed: Integers
    last_step: Integers
    running: Integers
    chunks: Integers
    ending: Integers
    clock: Floats
    at: Integers


# What time it is; up to when what was sent is seen; tokens of all contexts less the steps made; KV in use.
NOW_S, SEEN_S, BASE_TOKENS, USED_TOKENS = range(4)
SENT, ARRIVED, TAKEN, DONE, DECODING, STEP, SINCE_LOOK, CHUNKS, ENDING = range(9)


@compiled
def decode_sums(replica: Replica, sums: Floats, decoding: int, context: float) -> None:
    """The sums of a step in which `decoding` sequences of that mean context decode, and nothing else."""
    busiest = math.ceil(decoding / replica.ranks)
    sums[:] = 0.0
    sums[TOKENS] = sums[HEAD_ROWS] = sums[SEQUENCES] = busiest
    sums[ALL_TOKENS] = decoding
    for span in range(len(replica.every)):
        sums[READS + span] = busiest * min(context / replica.every[span], replica.limits[span])


@compiled
def decode_seconds(replica: Replica, sums: Floats, decoding: int, context: float) -> float:
    """Seconds of such a step."""
    decode_sums(replica, sums, decoding, context)
    return float(batch_seconds(replica.table, sums))


@compiled
def prompt_step_seconds(
    replica: Replica, sums: Floats, chunks: Integers, count: int, decoding: int, context: float
) -> float:
    """Seconds of a step of `count` chunks, rows of (new, cached), beside so many decodes."""
    alone_s = decode_seconds(replica, sums, decoding, context) if decoding > 0 else 0.0
    if decoding == 0:
        sums[:] = 0.0
    share = 1.0 / max(1, min(replica.ranks, count))
    new_tokens = 0
    for place in range(count):
        new, cached = chunks[place, 0], chunks[place, 1]
        new_tokens += new
        sums[PROMPT_TOKENS] += (new + cached) * share
        sums[PROMPTS_S] += prompt_seconds(replica.table, new, cached) * share
    sums[TOKENS] += new_tokens * share
    sums[ALL_TOKENS] += new_tokens
    sums[HEAD_ROWS] += count * share
    both_s = batch_seconds(replica.table, sums)
    return float(alone_s + (both_s - alone_s) * replica.prefill_times)


@compiled
def look(replica: Replica, requests: Requests) -> None:
    """Take in what has been sent, unless the next look is still some steps off."""
    at, seen_s = requests.at, requests.clock[SEEN_S]
    if at[SINCE_LOOK] < replica.receive_steps and at[DECODING] > 0:
        return
    at[SINCE_LOOK] = 0
    while at[ARRIVED] < at[SENT] and requests.sent_s[at[ARRIVED]] <= seen_s:
        at[ARRIVED] += 1


@compiled
def form_step(replica: Replica, requests: Requests) -> None:
    """Choose the prompts of the next step: in order, until its tokens, its sequences or the KV run out."""
    at, clock = requests.at, requests.clock
    at[CHUNKS] = at[ENDING] = 0
    left = replica.step_tokens_max - (at[DECODING] if replica.mixed else 0)
    while at[TAKEN] < at[ARRIVED] and left > 0 and at[DECODING] + at[ENDING] < replica.sequences_max:
        number = at[TAKEN]
        cached = requests.computed[number]
        want = requests.prompts[number] - cached
        whole = requests.prompts[number] + requests.answers[number]
        if cached == 0:
            full = clock[USED_TOKENS] + whole > replica.room_tokens
            if full and at[DECODING] + at[ENDING] > 0:
                return
            if not replica.chunked and want > left and at[CHUNKS] > 0:
                return
            clock[USED_TOKENS] += whole
        new = min(want, left) if replica.chunked else want
        requests.chunks[at[CHUNKS], 0], requests.chunks[at[CHUNKS], 1] = new, cached
        requests.computed[number] += new
        at[CHUNKS] += 1
        left -= new
        if new < want:
            return
        requests.ending[at[ENDING]] = number
        at[ENDING] += 1
        at[TAKEN] += 1


@compiled
def make_step(replica: Replica, requests: Requests, sums: Floats) -> None:
    """Let the step that was formed pass; without prompts, all steps until an answer ends or one was sent."""
    at, clock = requests.at, requests.clock
    decoding, started_s = at[DECODING], clock[NOW_S]
    context = clock[BASE_TOKENS] / decoding + at[STEP] if decoding > 0 else 0.0
    steps, each_s = 1, 0.0
    if at[CHUNKS] > 0:
        beside = decoding if replica.mixed else 0
        each_s = prompt_step_seconds(replica, sums, requests.chunks, at[CHUNKS], beside, context)
        at[STEP] += 1 if replica.mixed else 0
    elif decoding > 0:
        if at[ARRIVED] == at[SENT]:
            steps = steps_to_ending(requests)
        each_s = decode_seconds(replica, sums, decoding, context + (steps - 1) / 2.0)
        at[STEP] += steps
    else:
        started_s = max(started_s, requests.sent_s[at[ARRIVED]])
    clock[NOW_S] = started_s + steps * each_s
    clock[SEEN_S] = clock[NOW_S] - each_s if replica.overlapped else clock[NOW_S]
    # After prompts it looks at once, in SGLang as well (managers/scheduler_recv_skipper.py).
    at[SINCE_LOOK] = replica.receive_steps if at[CHUNKS] > 0 else at[SINCE_LOOK] + steps


@compiled
def steps_to_ending(requests: Requests) -> int:
    """Steps until the next answer is complete."""
    first = requests.last_step[requests.running[0]]
    for place in range(requests.at[DECODING]):
        first = min(first, requests.last_step[requests.running[place]])
    return int(first - requests.at[STEP])


@compiled
def end_request(requests: Requests, number: int, between_s: float) -> None:
    """A request is answered: its client sends the next one."""
    at, clock = requests.at, requests.clock
    requests.ended_s[number] = clock[NOW_S]
    clock[USED_TOKENS] -= requests.prompts[number] + requests.answers[number]
    at[DONE] += 1
    if at[SENT] < len(requests.prompts):
        requests.sent_s[at[SENT]] = clock[NOW_S] + between_s
        at[SENT] += 1


@compiled
def take_out(requests: Requests, between_s: float) -> None:
    """End the answers that are complete."""
    at, place = requests.at, 0
    while place < at[DECODING]:
        number = requests.running[place]
        if requests.last_step[number] > at[STEP]:
            place += 1
            continue
        context = requests.prompts[number] + requests.answers[number]
        requests.clock[BASE_TOKENS] -= context - requests.last_step[number]
        at[DECODING] -= 1
        requests.running[place] = requests.running[at[DECODING]]
        end_request(requests, number, between_s)


@compiled
def put_in(requests: Requests, between_s: float) -> None:
    """Prompts that ended have their first token, and go on to decode."""
    at = requests.at
    for place in range(at[ENDING]):
        number = requests.ending[place]
        requests.first_s[number] = requests.clock[NOW_S]
        if requests.answers[number] <= 1:
            end_request(requests, number, between_s)
            continue
        requests.last_step[number] = at[STEP] + requests.answers[number] - 1
        context = requests.prompts[number] + requests.answers[number]
        requests.clock[BASE_TOKENS] += context - requests.last_step[number]
        requests.running[at[DECODING]] = number
        at[DECODING] += 1


@compiled
def closed_loop(
    replica: Replica, clients: int, prompts: Integers, answers: Integers, between_s: float
) -> Requests:
    """Send requests of those lengths: `clients` at once, and each other one `between_s` after an answer."""
    total = len(prompts)
    numbers = np.zeros((5, total), dtype=np.int64)
    times = np.zeros((3, total))
    chunks = np.zeros((total, 2), dtype=np.int64)
    clock, at = np.zeros(4), np.zeros(9, dtype=np.int64)
    requests = Requests(
        prompts,
        answers,
        times[0],
        times[1],
        times[2],
        numbers[0],
        numbers[1],
        numbers[2],
        chunks,
        numbers[3],
        clock,
        at,
    )
    sums = np.zeros(READS + len(replica.every))
    at[SENT] = min(clients, total)
    for _ in range(STEPS_MAX):
        if at[DONE] == total:
            break
        look(replica, requests)
        form_step(replica, requests)
        make_step(replica, requests, sums)
        take_out(requests, between_s)
        put_in(requests, between_s)
    assert at[DONE] == total
    return requests
