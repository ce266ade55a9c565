"""What happens in turns, apart from their contexts: answers, fresh tokens, gaps and failures."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from perdure.traces.chance import stream
from perdure.traces.generate_preset import Preset
from perdure.traces.programs import Floats, Integers, Masks

ATTEMPTS_MAX = 8
# Fitted by eye to medians and means of fresh tokens at turns 1 to 40 of 355 kv-cache-tester sessions.
EARLY_FADING = 1.5
ANSWER_TOKENS_MAX = 128_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """What sessions do, each in its own way. Of each session: `turns`, and factors on the preset's laws.

    tool_share      of later turns that bring back a tool's result
    tool_failure    of a tool's runs that fail; it is then run again
    rewrite_share   of later turns that edit the context
    purpose         names the streams of chance
    """

    turns: Integers
    fresh: Floats
    output: Floats
    gap: Floats
    tool_share: float
    tool_failure: float
    rewrite_share: float
    purpose: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Turns:
    """What was drawn for each turn, in order of sessions, which have `counts` of them.

    A first turn has no gap and no fresh tokens.
    """

    counts: Integers
    fresh_tokens: Integers
    output_tokens: Integers
    compacted_tokens: Integers
    rewritten: Masks
    gap_s: Floats
    tool: Masks
    attempts: Integers

    @property
    def starts(self) -> Integers:
        """[session] where its turns begin."""
        return np.cumsum(self.counts) - self.counts


Draws = Callable[[str], np.random.Generator]


def draw_turns(preset: Preset, habits: Habits, seed: int) -> Turns:
    """All turns of sessions with these habits."""
    total = int(habits.turns.sum())
    first = np.zeros(total, dtype=np.bool_)
    first[np.cumsum(habits.turns) - habits.turns] = True

    def draws(what: str) -> np.random.Generator:
        return stream(seed, f"agents/{habits.purpose}/{what}")

    answer_scores = draws("output").standard_normal(total)
    output = preset.spreads["output_tokens"].at(answer_scores) * np.repeat(habits.output, habits.turns)
    fresh_scores = _fresh_scores(preset, habits, answer_scores, draws)
    fresh = preset.spreads["fresh_tokens"].at(fresh_scores) * np.repeat(habits.fresh, habits.turns)
    fresh *= _early_factors(preset.numbers["early_factor"], habits.turns)
    tool = ~first & (draws("tool").random(total) < habits.tool_share)
    failures = draws("failure").geometric(1.0 - habits.tool_failure, total)
    compacted = preset.spreads["compacted_tokens"].at(draws("compacted").standard_normal(total))
    return Turns(
        counts=habits.turns,
        fresh_tokens=np.where(first, 0, _whole(fresh)),
        output_tokens=np.minimum(_whole(output), ANSWER_TOKENS_MAX),
        compacted_tokens=_whole(compacted),
        rewritten=~first & (draws("rewrite").random(total) < habits.rewrite_share),
        gap_s=np.where(first, 0.0, _gaps(preset, habits, tool, draws("gap").standard_normal(total))),
        tool=tool,
        attempts=np.where(tool, np.minimum(failures, ATTEMPTS_MAX), 1),
    )


def _fresh_scores(preset: Preset, habits: Habits, answers: Floats, draws: Draws) -> Floats:
    """Normal scores of fresh tokens: alike within a session, and after a long answer there are more."""
    session = preset.numbers["session_coupling"]
    output = preset.numbers["output_coupling"]
    own = np.sqrt(1.0 - session**2 - output**2)
    before = np.concatenate(([0.0], answers[:-1]))
    alike = np.repeat(draws("session").standard_normal(len(habits.turns)), habits.turns)
    return session * alike + output * before + own * draws("fresh").standard_normal(len(answers))


def _early_factors(early: float, turns: Integers) -> Floats:
    """How many times the later fresh tokens each turn brings: at first, agents read what they work on."""
    place = np.arange(int(turns.sum())) - np.repeat(np.cumsum(turns) - turns, turns)
    factors = 1.0 + early / np.maximum(np.arange(int(turns.max(initial=1))), 1) ** EARLY_FADING
    return factors[place]


def _gaps(preset: Preset, habits: Habits, tool: Masks, scores: Floats) -> Floats:
    tool_s, user_s = preset.spreads["tool_gap_s"].at(scores), preset.spreads["user_gap_s"].at(scores)
    # Milliseconds are as exact as recorded gaps are, and print short.
    return np.round(np.where(tool, tool_s, user_s) * np.repeat(habits.gap, habits.turns), 3)


def _whole(tokens: Floats) -> Integers:
    return np.maximum(1, np.rint(tokens)).astype(np.int64)
