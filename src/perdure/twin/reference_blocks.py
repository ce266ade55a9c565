"""Which blocks of KV are free, in which order they are taken, and which are found by their content.

As in vLLM V1's block pool: a freed block keeps its content until it is taken again; blocks are taken in the
order in which they were freed, and those of one call are freed from its end, so that prefixes live longest.
"""

from collections import OrderedDict
from collections.abc import Sequence


class BlockPool:
    """`count` blocks of `block_tokens` tokens. A key stands for all tokens up to the end of its block."""

    def __init__(self, count: int, block_tokens: int) -> None:
        self._block_tokens = block_tokens
        self._free: OrderedDict[int, None] = OrderedDict.fromkeys(range(count))
        self._users = [0] * count
        self._key_of: list[int | None] = [None] * count
        self._blocks_with: dict[int, OrderedDict[int, None]] = {}
        self._names: dict[tuple[int | None, tuple[int, ...]], int] = {}

    def blocks_of(self, tokens: int) -> int:
        """Blocks that so many tokens take."""
        return -(-tokens // self._block_tokens)

    def extend_keys(self, keys: list[int], tokens: Sequence[int], full: int) -> None:
        """Append to `keys` until there is one for each of the first `full` blocks of `tokens`."""
        size = self._block_tokens
        for place in range(len(keys), full):
            content = (keys[-1] if keys else None, tuple(tokens[place * size : (place + 1) * size]))
            keys.append(self._names.setdefault(content, len(self._names)))

    def find(self, keys: Sequence[int], *, tokens_max: int) -> list[int]:
        """Blocks with the longest prefix of `keys` that is at hand, at most `tokens_max` tokens."""
        found: list[int] = []
        for key in keys[: tokens_max // self._block_tokens]:
            if key not in self._blocks_with:
                break
            found.append(next(iter(self._blocks_with[key])))
        return found

    def has_room(self, missing: int, hits: Sequence[int]) -> bool:
        """Whether `missing` blocks can be taken beside `hits`, which leave the free ones as well."""
        return missing + sum(self._users[block] == 0 for block in hits) <= len(self._free)

    def hold(self, hits: Sequence[int]) -> None:
        """Use blocks that were found."""
        for block in hits:
            if self._users[block] == 0:
                del self._free[block]
            self._users[block] += 1

    def take(self, count: int) -> list[int]:
        """So many free blocks, those free for longest; what they held is forgotten."""
        taken = [self._free.popitem(last=False)[0] for _ in range(max(0, count))]
        for block in taken:
            self._forget(block)
            self._users[block] = 1
        return taken

    def publish(self, blocks: Sequence[int], keys: Sequence[int]) -> None:
        """Make `blocks` findable under `keys`, one each from the first on."""
        for place in range(len(keys) - 1, -1, -1):
            block, key = blocks[place], keys[place]
            if self._key_of[block] is not None:
                break  # and so are those before it
            self._key_of[block] = key
            self._blocks_with.setdefault(key, OrderedDict())[block] = None

    def free(self, blocks: Sequence[int]) -> None:
        """Let go of a call's blocks, its last one first."""
        for block in reversed(blocks):
            self._users[block] -= 1
            if self._users[block] == 0:
                self._free[block] = None

    def _forget(self, block: int) -> None:
        key = self._key_of[block]
        if key is not None:
            self._key_of[block] = None
            holders = self._blocks_with[key]
            del holders[block]
            if not holders:
                del self._blocks_with[key]
