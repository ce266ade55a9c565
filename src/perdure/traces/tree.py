"""Which agents belong to one program: those that a common ancestor started."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from perdure.traces.calls import Agent


def by_program(agents: Sequence[Agent], programs: Mapping[str, str] | None = None) -> list[list[Agent]]:
    """Agents with calls, in groups by program, in order of arrival.

    programs  the program of agents for which the trace names it; of others it is their oldest ancestor,
              whether that one is in the trace or not
    """
    named = programs or {}
    parents = {agent.name: agent.parent for agent in agents}
    groups: dict[tuple[bool, str], list[Agent]] = defaultdict(list)
    for agent in agents:
        if agent.calls:
            ancestor = _ancestor(agent.name, parents)
            program = named.get(agent.name) or named.get(ancestor)
            groups[program is not None, program or ancestor].append(agent)
    return sorted(groups.values(), key=_arrival_s)


def _arrival_s(group: Iterable[Agent]) -> float:
    return min(call.start_s for agent in group for call in agent.calls)


def _ancestor(name: str, parents: Mapping[str, str | None]) -> str:
    """The last parent up from `name`; of parents in a circle, the first by name."""
    path = {name: 0}
    while (parent := parents.get(name)) is not None:
        if parent in path:
            return min(one for one, step in path.items() if step >= path[parent])
        path[parent] = len(path)
        name = parent
    return name
