"""How the calls of one program become sessions: which call goes on from which, who forked whom, who waited.

Where a trace does not say it, the times do: a sub-agent starts after the last answer of its parent before it;
the parent waited for it if it asked nothing until the sub-agent had ended. A gap counts from the answer
before, or from the end of the last sub-agent waited for, whichever is later, so that a replay on faster
hardware does not wait for time that was spent in models.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from perdure.traces.calls import Agent, Call, Tally
from perdure.traces.prefixes import PrefixTree, Trail
from perdure.traces.programs import Programs
from perdure.traces.sessions import ProgramsBuilder, Turn

Place = tuple[int, int]


@dataclass(slots=True)
class _Chain:
    """A session that grows; only `Assembly` moves it.

    end_s     of its last answer; before_s: of the one before that
    awaiting  sessions that its next turn waits for, each with the time when it ended
    """

    session: int
    model: str
    trail: Trail
    prompt_tokens: int = 0
    context_tokens: int = 0
    end_s: float = 0.0
    before_s: float = 0.0
    awaiting: list[tuple[int, float]] = field(default_factory=list[tuple[int, float]])


@dataclass(frozen=True, slots=True)
class _Placed:
    """A call's times and its place in the workload."""

    start_s: float
    end_s: float
    place: Place
    name: str | None


class Assembly:
    """Takes programs in order of arrival, and gives the workload.

    slack_s  how far two times of the trace may be off
    """

    def __init__(self, tally: Tally, *, slack_s: float = 1e-3) -> None:
        self._tally = tally
        self._slack_s = slack_s
        self._block_tokens = 1
        self._builder = ProgramsBuilder()
        self._tree = PrefixTree()
        self._program_start_s = 0.0

    def add(
        self,
        agents: Sequence[Agent],
        *,
        arrival_s: float,
        tenant: str = "all",
        block_tokens: int = 1,
        shared: bool = True,
    ) -> None:
        """Add a program whose first call arrives at `arrival_s`. Agents without a sound call are left out.

        block_tokens  tokens that one hash stands for
        shared        whether equal hashes in programs added before mean equal tokens
        """
        agents = [self._sound(agent) for agent in agents]
        agents = [agent for agent in agents if agent.calls]
        if not agents:
            return
        if not shared:
            self._tree = PrefixTree()
        self._block_tokens = block_tokens
        self._builder.program(arrival_s, tenant)
        self._program_start_s = min(agent.start_s for agent in agents)
        placed: dict[str, list[_Placed]] = {}
        for agent in self._parents_first(agents):
            place = self._fork(agent, placed) if agent.parent is not None else None
            placed[agent.name] = self._calls(agent, place)
            if place is not None:
                self._join(agent, place, placed)

    def programs(self) -> Programs:
        """The workload of all that was added; raises BadRequest when that was nothing."""
        return self._builder.build()

    def _sound(self, agent: Agent) -> Agent:
        """`agent` with the calls that can be used, in order of time."""
        calls = [sound for call in agent.calls if (sound := self._tally.sound(call)) is not None]
        starts = np.array([call.start_s for call in calls])
        backwards = int((np.diff(starts) < 0).sum())
        if backwards:
            self._tally.repaired["a time that goes backwards, calls put in order"] += backwards
            calls.sort(key=lambda call: call.start_s)
        return replace(agent, calls=calls)

    def _parents_first(self, agents: Sequence[Agent]) -> list[Agent]:
        """Each agent after its parent, otherwise by start; one without its parent starts on its own."""
        waiting = sorted(agents, key=lambda agent: agent.start_s)
        names = {agent.name for agent in agents}
        ordered: list[Agent] = []
        done: set[str] = set()
        while waiting:
            ready = [agent for agent in waiting if agent.parent is None or agent.parent in done]
            if not ready:
                orphan = next((one for one in waiting if one.parent not in names), waiting[0])
                self._tally.repaired["a missing parent, the session starts on its own"] += 1
                orphan.parent = None
                ready = [orphan]
            ordered += ready
            done |= {agent.name for agent in ready}
            waiting = [agent for agent in waiting if agent.name not in done]
        return ordered

    def _fork(self, agent: Agent, placed: dict[str, list[_Placed]]) -> _Placed:
        """The parent's last answer before the agent began."""
        assert agent.parent is not None
        parents = placed[agent.parent]
        named = [one for one in parents if one.name is not None and one.name == agent.fork_after]
        if named:
            return named[0]
        before = [one for one in parents if one.end_s <= agent.start_s + self._slack_s]
        if not before:
            self._tally.repaired["a sub-agent before its parent's first answer, started by that one"] += 1
            return parents[0]
        return max(before, key=lambda one: (one.end_s, one.place))

    def _join(self, agent: Agent, fork: _Placed, placed: dict[str, list[_Placed]]) -> None:
        """Let the parent's next turn wait for the agent, where it did."""
        assert agent.parent is not None
        session, turn = fork.place
        later = [one for one in placed[agent.parent] if one.place[0] == session and one.place[1] > turn]
        waiting = next((one for one in later if self._waited(agent, one, turn)), None)
        if agent.join_before is not None and waiting is None:
            self._tally.repaired["a sub-agent waited for by another session than started it, not joined"] += 1
        if waiting is None:
            return
        child = placed[agent.name][0].place[0]
        self._builder.sessions[child].join_turn = waiting.place[1]
        waited = self._builder.sessions[session].turns[waiting.place[1]]
        waited.gap_s = min(waited.gap_s, max(0.0, waiting.start_s - agent.end_s))

    def _waited(self, agent: Agent, call: _Placed, fork_turn: int) -> bool:
        """Whether the parent's `call` waited for `agent`: as the trace says, or by having waited."""
        if agent.join_before is not None:
            return call.name == agent.join_before
        follows = call.place[1] == fork_turn + 1 and call.start_s >= agent.end_s - self._slack_s
        return agent.awaited is not False and follows

    def _calls(self, agent: Agent, fork: _Placed | None) -> list[_Placed]:
        """Put an agent's calls into sessions: one for each model, and one for each call beside another."""
        open_chains: list[_Chain] = []
        placed: list[_Placed] = []
        for call in agent.calls:
            chain = self._chain(call, open_chains, fork)
            placed.append(self._turn(call, chain))
        return placed

    def _chain(self, call: Call, open_chains: list[_Chain], fork: _Placed | None) -> _Chain:
        """The session that `call` goes on in; the last of `open_chains` is the one that talks."""
        if not open_chains:
            open_chains.append(self._begin(call, fork.place if fork else None, fork.end_s if fork else None))
            return open_chains[-1]
        current = open_chains[-1]
        last = len(self._builder.sessions[current.session].turns) - 1
        if call.start_s < current.end_s - self._slack_s:
            return self._beside(call, current, last, fork)
        if any(chain.model == call.model for chain in open_chains):
            while open_chains[-1].model != call.model:
                ended = open_chains.pop()
                open_chains[-1].awaiting.append((ended.session, ended.end_s))
            return open_chains[-1]
        open_chains.append(self._begin(call, (current.session, last), current.end_s))
        return open_chains[-1]

    def _beside(self, call: Call, current: _Chain, last: int, fork: _Placed | None) -> _Chain:
        """A session for a call that was asked while its own session's answer was not complete."""
        self._tally.repaired["a call beside another one of its session, given a session of its own"] += 1
        if last > 0:
            chain = self._begin(call, (current.session, last - 1), current.before_s)
            current.awaiting.append((chain.session, call.start_s if call.end_s is None else call.end_s))
            return chain
        return self._begin(call, fork.place if fork else None, fork.end_s if fork else None)

    def _begin(self, call: Call, fork: Place | None, after_s: float | None) -> _Chain:
        start_s = self._program_start_s if after_s is None else after_s
        session = self._builder.session(call.model, fork=fork)
        return _Chain(session, call.model, Trail(np.zeros(0, dtype=np.int64), []), end_s=start_s)

    def _turn(self, call: Call, chain: _Chain) -> _Placed:
        session = self._builder.sessions[chain.session]
        ready_s = max([chain.end_s, *self._joined(call, chain)])
        gap_s = call.start_s - ready_s if call.gap_s is None else call.gap_s
        kept = self._kept(call, chain)
        self._builder.turn(
            chain.session,
            Turn(
                kept_tokens=kept,
                new_tokens=call.prompt_tokens - kept,
                output_tokens=call.output_tokens,
                gap_s=max(0.0, gap_s),
                tool=call.tool,
            ),
        )
        chain.context_tokens = call.prompt_tokens + call.output_tokens
        chain.prompt_tokens = call.prompt_tokens
        chain.before_s = chain.end_s
        chain.end_s = call.start_s if call.end_s is None else call.end_s
        return _Placed(call.start_s, chain.end_s, (chain.session, len(session.turns) - 1), call.name)

    def _joined(self, call: Call, chain: _Chain) -> list[float]:
        """When the sessions ended that this turn waits for."""
        turn = len(self._builder.sessions[chain.session].turns)
        ended = [one for one in chain.awaiting if one[1] <= call.start_s + self._slack_s]
        chain.awaiting = []
        for session, _ in ended:
            self._builder.sessions[session].join_turn = turn
        return [end_s for _, end_s in ended]

    def _kept(self, call: Call, chain: _Chain) -> int:
        """Tokens of the context so far that the prompt starts with; of a first prompt, of another session."""
        if call.hashes is not None:
            return self._kept_blocks(call, chain)
        if call.kept_tokens is not None:
            kept = min(call.kept_tokens, chain.context_tokens, call.prompt_tokens)
            if kept < call.kept_tokens and chain.context_tokens:
                self._tally.repaired["more kept tokens than there were, taken as all of them"] += 1
            return max(0, kept)
        return min(chain.context_tokens, call.prompt_tokens)

    def _kept_blocks(self, call: Call, chain: _Chain) -> int:
        assert call.hashes is not None
        first = not chain.context_tokens
        match = self._tree.add(
            call.hashes, model=call.model, session=chain.session, start_s=call.start_s, trail=chain.trail
        )
        known = min(match.known_blocks * self._block_tokens, call.prompt_tokens)
        if first and match.owner is not None:
            self._builder.sessions[chain.session].prefix = match.owner, known
            return known
        kept = min(match.kept_blocks * self._block_tokens, chain.prompt_tokens, call.prompt_tokens)
        self._tally.unseen_tokens += known - kept
        return kept
