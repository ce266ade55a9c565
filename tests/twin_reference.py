"""A workload on one engine through the block-exact reference: what the kernel is compared with."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from perdure.models.batch import sums_of
from perdure.models.cost_table import CostTable
from perdure.traces.programs import Programs
from perdure.twin import reference
from perdure.twin.reference import Call, EngineSettings, Outcome, Replay, replay
from perdure.twin.reference_blocks import BlockPool


class FreesPartialBlocksFirst(BlockPool):
    """vLLM queues a call's last, partial block behind all others that are free; the kernel frees it at once.

    Nothing can be found in it, so it is taken before anything that could be.
    """

    def free(self, blocks: Sequence[int]) -> None:
        """Let go of a call's blocks; of those that nobody uses, put the ones without content first."""
        super().free(blocks)
        for block in blocks:
            if block in self._free and self._key_of[block] is None:
                self._free.move_to_end(block, last=False)


@dataclass(slots=True)
class Contexts:
    """Token ids of every context of a workload: prompts and answers are known, when they come is not."""

    prompts: list[list[int]]
    whole: list[list[int]]


def contexts_of(programs: Programs) -> Contexts:
    """Ids such that equal prefixes are equal ids, and everything else is like nothing else."""
    fresh = 0
    prompts: list[list[int]] = []
    whole: list[list[int]] = []
    for session in range(len(programs.program)):
        context: list[int] = []
        if programs.prefixed[session]:
            context = _source(programs, whole, session)[: int(programs.prefix_tokens[session])]
        for turn in range(programs.first_turn[session], programs.first_turn[session + 1]):
            new, output = int(programs.new_tokens[turn]), int(programs.output_tokens[turn])
            prompt = context[: int(programs.kept_tokens[turn])] + list(range(fresh, fresh + new))
            fresh += new
            context = prompt + list(range(fresh, fresh + output))
            fresh += output
            prompts.append(prompt)
            whole.append(context)
    return Contexts(prompts, whole)


def _source(programs: Programs, whole: list[list[int]], session: int) -> list[int]:
    """The context that a session starts like: its parent's at the fork, or the first that is long enough."""
    other, wanted = int(programs.prefix_session[session]), int(programs.prefix_tokens[session])
    first, last = int(programs.first_turn[other]), int(programs.first_turn[other + 1])
    if programs.forked[session] and programs.parent[session] == other:
        return whole[first + int(programs.fork_turn[session])]
    return next((whole[turn] for turn in range(first, last) if len(whole[turn]) >= wanted), whole[last - 1])


class Workload:
    """Gives the reference its calls as those before them end; only the replay calls it."""

    def __init__(self, programs: Programs) -> None:
        self.programs = programs
        self.contexts = contexts_of(programs)
        self.order: list[int] = []
        self._at = programs.first_turn[:-1].copy()
        self._over = np.zeros(len(programs.program), bool)
        self._waits: dict[int, int] = {}

    def first(self) -> list[Call]:
        """The first calls of all programs."""
        programs = self.programs
        return [
            self._call(
                int(programs.first_turn[session]), float(programs.arrival_s[programs.program[session]])
            )
            for session in range(len(programs.program))
            if not programs.forked[session]
        ]

    def then(self, number: int, ended_s: float) -> Iterable[Call]:
        """What follows the end of a call: forks, the session's next turn, or that of who waited for it."""
        programs, turn = self.programs, self.order[number]
        session = int(programs.turn_session[turn])
        children = programs.forked & (programs.parent == session)
        children &= programs.first_turn[session] + programs.fork_turn == turn
        calls = [self._call(int(programs.first_turn[child]), ended_s) for child in np.flatnonzero(children)]
        if turn + 1 < programs.first_turn[session + 1]:
            self._waits[session] = turn + 1
            calls += self._go_on(session, ended_s)
        else:
            self._over[session] = True
            if programs.joined[session]:
                calls += self._go_on(int(programs.parent[session]), ended_s)
        return calls

    def _go_on(self, session: int, now_s: float) -> list[Call]:
        """The session's next turn, if it has one to make and nobody to wait for."""
        programs, turn = self.programs, self._waits.get(session)
        if turn is None:
            return []
        awaited = programs.joined & (programs.parent == session)
        awaited &= programs.first_turn[programs.parent] + programs.join_turn == turn
        if (awaited & ~self._over).any():
            return []
        del self._waits[session]
        return [self._call(turn, now_s)]

    def _call(self, turn: int, now_s: float) -> Call:
        self.order.append(turn)
        gap_s = float(self.programs.gap_s[turn]) * int(self.programs.attempts[turn])
        prompt = self.contexts.prompts[turn]
        return Call(ready_s=now_s + gap_s, tokens=self.contexts.whole[turn], prompt_tokens=len(prompt))


def refer(
    programs: Programs, costs: CostTable, settings: EngineSettings, monkeypatch: pytest.MonkeyPatch
) -> tuple[Replay, list[Outcome]]:
    """The reference's replay of a workload, and its outcomes in order of turns."""
    workload = Workload(programs)
    with monkeypatch.context() as patched:
        patched.setattr(reference, "BlockPool", FreesPartialBlocksFirst)
        done = replay(
            workload.first(),
            settings,
            lambda batch: costs.seconds(sums_of(batch, costs.spans, costs.ranks)),
            then=workload.then,
        )
    outcomes: list[Outcome] = [Outcome()] * len(programs.new_tokens)
    for number, turn in enumerate(workload.order):
        outcomes[turn] = done.outcomes[number]
    return done, outcomes
