"""Which blocks each prompt of a workload is made of: equal numbers where, and only where, tokens are shared.

A block is shared when all of it is; the last one of a prompt is often not full, and then its own.
"""

from collections.abc import Iterator
from itertools import count

from perdure.traces.programs import Programs


class BlockIds:
    """Numbers the blocks of a workload's prompts, turn by turn in order of sessions."""

    def __init__(self, programs: Programs, block_tokens: int) -> None:
        self._programs = programs
        self._block_tokens = block_tokens
        self._fresh = count()
        # Of each session, the block that stood first at each place: what later sessions start with.
        self._first: list[list[int]] = []

    def sessions(self) -> Iterator[list[list[int]]]:
        """For each session the blocks of each of its prompts."""
        for session in range(len(self._programs.program)):
            yield self._session(session)

    def _session(self, session: int) -> list[list[int]]:
        programs = self._programs
        context: list[int] = []
        if programs.prefixed[session]:
            context = self._first[int(programs.prefix_session[session])]
        first: list[int] = []
        prompts: list[list[int]] = []
        begin, end = int(programs.first_turn[session]), int(programs.first_turn[session + 1])
        for turn in range(begin, end):
            kept = int(programs.kept_tokens[turn])
            prompt = kept + int(programs.new_tokens[turn])
            full = context[: kept // self._block_tokens]
            self._grow(full, prompt)
            rest = [next(self._fresh)] if prompt % self._block_tokens else []
            prompts.append(full + rest)
            context = full.copy()
            self._grow(context, prompt + int(programs.output_tokens[turn]))
            first += context[len(first) :]
        self._first.append(first)
        return prompts

    def _grow(self, blocks: list[int], tokens: int) -> None:
        """Add new blocks until `tokens` of them are full."""
        blocks += [next(self._fresh) for _ in range(tokens // self._block_tokens - len(blocks))]
