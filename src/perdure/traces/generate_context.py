"""How the contexts of sessions grow: turn by turn, until the window is full and they are compacted.

Each prompt is the one before it and some fresh tokens: the answer, and what a tool or a person added. Two
things break the chain. A prompt that would fill the window is compacted: its system prompt stays, the rest
is a summary. And sometimes a client edits what it sent before (drops old tool results, changes a tool): the
prompt is as long as ever, but nothing after the system prompt is found in a cache.
"""

from dataclasses import dataclass

import numpy as np

from perdure.traces.programs import Integers, Masks

OWN_TOKENS_MIN = 64
"""Of a first or compacted prompt beyond what it shares: no prompt is the system prompt alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """What decides the contexts of sessions, drawn beforehand.

    Of each session: `turns`; `system_tokens`, which always stay; `first_tokens` of the first prompt;
    `compact_tokens`, which no prompt goes beyond.
    Of each turn, in order of sessions: `fresh_tokens` beyond the prompt before it; `output_tokens`;
    `compacted_tokens`, what a compaction there would leave; `rewritten`, whether the client edits there.
    """

    turns: Integers
    system_tokens: Integers
    first_tokens: Integers
    compact_tokens: Integers
    fresh_tokens: Integers
    output_tokens: Integers
    compacted_tokens: Integers
    rewritten: Masks


def grow(growth: Growth) -> tuple[Integers, Integers]:
    """[turn] tokens kept of the context so far, and tokens of the prompt; of first turns, none are kept."""
    starts = np.cumsum(growth.turns) - growth.turns
    # Longest first: those that still run at a turn are then the first so many.
    longest = np.argsort(-growth.turns, kind="stable")
    starts, system = starts[longest], growth.system_tokens[longest]
    limit = np.maximum(growth.compact_tokens[longest], system + OWN_TOKENS_MIN)
    # [turn] how many sessions are that long: all but those that have ended.
    running = len(growth.turns) - np.cumsum(np.bincount(growth.turns))[:-1]
    kept, prompts = np.zeros_like(growth.fresh_tokens), np.zeros_like(growth.fresh_tokens)
    prompt = np.clip(growth.first_tokens[longest], system + OWN_TOKENS_MIN, limit)
    prompts[starts] = prompt
    for turn in range(1, len(running)):
        count = int(running[turn])
        place = starts[:count] + turn
        stays = _stays(prompt[:count], growth.output_tokens[place - 1], growth.fresh_tokens[place])
        prompt = prompt[:count] + growth.fresh_tokens[place]
        full = prompt > limit[:count]
        summary = np.clip(growth.compacted_tokens[place], system[:count] + OWN_TOKENS_MIN, limit[:count])
        prompt = np.where(full, np.minimum(summary, prompt), prompt)
        kept[place] = np.where(full | growth.rewritten[place], system[:count], stays)
        prompts[place] = prompt
    return kept, prompts


def _stays(prompt: Integers, answer: Integers, fresh: Integers) -> Integers:
    """What a prompt that only grows keeps: the one before and its answer.

    Where fewer tokens came than were answered, the answer (its reasoning, mostly) was left out.
    """
    return prompt + np.where(fresh > answer, answer, 0)
