"""Which earlier context a prompt starts with, found by the hashes of its blocks."""

from dataclasses import dataclass

from perdure.traces.calls import Hashes


@dataclass(slots=True)
class Trail:
    """Where the blocks of a prompt lie in the tree; the next prompt of the same session starts from it."""

    hashes: Hashes
    nodes: list[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """How many blocks of a prompt are those of its session's last prompt, and how many of any before it.

    owner  the session that had the longest common prefix first; None where no block is shared
    """

    kept_blocks: int
    known_blocks: int
    owner: int | None


class PrefixTree:
    """The prompts so far, as a tree of blocks. Models share nothing.

    A prompt is known from the moment that it was asked: what a session asks later is no prefix yet.
    """

    def __init__(self) -> None:
        self._children: dict[tuple[int, int], int] = {}
        self._roots: dict[str, int] = {}
        self._owners: list[int] = []
        self._since_s: list[float] = []

    def add(self, hashes: Hashes, *, model: str, session: int, start_s: float, trail: Trail) -> Match:
        """Find the prompt of `session` in the tree, put it there, and move `trail` on to it."""
        kept = common_blocks(trail.hashes, hashes)
        del trail.nodes[kept:]
        trail.hashes = hashes
        node = trail.nodes[-1] if kept else self._root(model)
        known, owner = kept, None
        for block in hashes[kept:].tolist():
            child = self._children.get((node, block))
            if child is None:
                child = self._new(session, start_s)
                self._children[node, block] = child
            elif self._since_s[child] <= start_s and known == len(trail.nodes):
                known, owner = known + 1, self._owners[child]
            else:
                self._since_s[child] = min(self._since_s[child], start_s)
            trail.nodes.append(child)
            node = child
        return Match(kept_blocks=kept, known_blocks=known, owner=owner)

    def _root(self, model: str) -> int:
        if model not in self._roots:
            self._roots[model] = self._new(0, 0.0)
        return self._roots[model]

    def _new(self, session: int, start_s: float) -> int:
        self._owners.append(session)
        self._since_s.append(start_s)
        return len(self._owners) - 1


def common_blocks(one: Hashes, other: Hashes) -> int:
    """How many blocks the two prompts have in common from their start."""
    length = min(len(one), len(other))
    differ = one[:length] != other[:length]
    return int(differ.argmax()) if differ.any() else length
