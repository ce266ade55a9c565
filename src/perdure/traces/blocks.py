"""How hashes of any kind become whole numbers, and how many tokens a hash stands for where nobody says it."""

from collections.abc import Hashable, Iterable, Sequence

import numpy as np

from perdure.traces.calls import Hashes

# What is in use, the likeliest first: Mooncake, Dynamo and kv-cache-tester, Bailian and vLLM, others.
BLOCK_TOKENS = (512, 64, 16, 32, 128, 256, 1024)
AGREE_MIN = 0.99

LOW_64_BITS = 2**64 - 1


def whole(hashes: Sequence[int]) -> Hashes:
    """Hashes that are whole numbers already, those beyond 63 bits among them."""
    try:
        return np.array(hashes, dtype=np.int64)
    except OverflowError:
        return np.array([one & LOW_64_BITS for one in hashes], dtype=np.uint64).view(np.int64)


class Numbering:
    """Gives each hash a number of its own, the same whenever it comes again."""

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}

    def numbers(self, hashes: Iterable[Hashable]) -> Hashes:
        """The numbers of `hashes`."""
        known = self._numbers
        return np.array([known.setdefault(one, len(known)) for one in hashes], dtype=np.int64)

    def chained(self, blocks: Iterable[Hashable]) -> Hashes:
        """The numbers of blocks that do not know what comes before them, each made to stand for all of it."""
        known = self._numbers
        numbers: list[int] = []
        before = -1
        for block in blocks:
            before = known.setdefault((before, block), len(known))
            numbers.append(before)
        return np.array(numbers, dtype=np.int64)


def block_tokens_of(prompts: Sequence[tuple[int, int]]) -> int | None:
    """Tokens of a block, from prompts as (tokens, hashes); None where no usual size explains them.

    A prompt has a hash for each full block, and perhaps one more for the rest.
    """
    hashed = [(tokens, hashes) for tokens, hashes in prompts if hashes]
    for size in BLOCK_TOKENS:
        agree = sum(tokens // size <= hashes <= -(-tokens // size) for tokens, hashes in hashed)
        if hashed and agree >= AGREE_MIN * len(hashed):
            return size
    return None
