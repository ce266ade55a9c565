"""Contexts as chains of segments: what turns and sessions share is one segment, found in O(1) a turn.

A session is a path that grows; what an edited turn leaves behind is a path of its own (a dead end); where
others go on from the middle of a path, the path is cut there. So everything in one segment was used at the
same time last, and evicting whole segments from their ends is exactly what evicting blocks would be.
"""

from typing import NamedTuple

import numpy as np

from perdure.compiling import Records, compiled
from perdure.models.cost_compiled import Integers
from perdure.traces.programs import Masks, Programs
from perdure.twin.kernel_records import SEGMENT, records


class Paths(NamedTuple):
    """[path] where each goes on from, its first token, its last one, whose it is, and if it is a dead end.

    turn   [turn] the path in which each turn's context ends; path 0 is nobody's
    """

    parent: Integers
    start: Integers
    end: Integers
    owner: Integers
    dead_end: Integers
    turn: Integers


class Segments(NamedTuple):
    """Segments, and of each turn the one in which it ends and the one that it left behind (0 for none)."""

    segments: Records
    leaf: Integers
    dead_leaf: Integers


@compiled
def above(parent: Integers, start: Integers, path: int, tokens: int) -> int:
    """The path of a chain on which its first `tokens` tokens end."""
    while path != 0 and start[path] >= tokens:
        path = parent[path]
    return path


@compiled
def trace_paths(
    first_turn: Integers,
    prompt: Integers,
    kept: Integers,
    output: Integers,
    prefixed: Integers,
    prefix_session: Integers,
    prefix_turn: Integers,
    prefix_tokens: Integers,
) -> Paths:
    """The paths of all sessions; `prefix_turn` is the turn (of all) that a session goes on from, if any."""
    sessions, turns = len(first_turn) - 1, len(prompt)
    room = 1 + sessions + 2 * turns
    parent = np.zeros(room, np.int64)
    start = np.zeros(room, np.int64)
    end = np.zeros(room, np.int64)
    owner = np.zeros(room, np.int64)
    dead_end = np.zeros(room, np.int64)
    turn_path = np.zeros(turns, np.int64)
    count = 1
    for session in range(sessions):
        path, count = count, count + 1
        owner[path] = session
        other = prefix_session[session]
        if prefixed[session]:
            turn = prefix_turn[session]
            if turn < 0:
                turn = first_turn[other]
                while (
                    turn + 1 < first_turn[other + 1] and prompt[turn] + output[turn] < prefix_tokens[session]
                ):
                    turn += 1
            shared = min(prefix_tokens[session], prompt[turn] + output[turn])
            parent[path] = above(parent, start, turn_path[turn], shared)
            start[path] = shared if parent[path] != 0 else 0
        for turn in range(first_turn[session], first_turn[session + 1]):
            reach = prompt[turn] + output[turn]
            following = turn + 1
            goes_on = following < first_turn[session + 1]
            if not goes_on or kept[following] >= reach:
                turn_path[turn] = path
                end[path] = max(end[path], reach)
                continue
            cut = kept[following]
            if cut >= kept[turn] and cut > start[path]:
                turn_path[turn] = count
                parent[count], start[count], end[count] = path, cut, reach
                owner[count], dead_end[count] = session, 1
                end[path] = max(end[path], cut)
                count += 1
                continue
            turn_path[turn] = path
            end[path] = max(end[path], reach)
            before = above(parent, start, path, cut)
            parent[count], owner[count] = before, session
            start[count] = cut if before != 0 else 0
            path, count = count, count + 1
    return Paths(parent[:count], start[:count], end[:count], owner[:count], dead_end[:count], turn_path)


@compiled
def measure(parent: Integers, owner: Integers) -> tuple[Integers, Integers]:
    """[segment] how many lie above each, and whether another session goes on from it."""
    depth = np.zeros(len(parent), np.int64)
    shared = np.zeros(len(parent), np.int64)
    for segment in range(1, len(parent)):
        if parent[segment] != 0:
            depth[segment] = depth[parent[segment]] + 1
            ancestor = parent[segment]
            if owner[ancestor] != owner[segment]:
                while ancestor != 0 and not shared[ancestor]:
                    shared[ancestor] = 1
                    ancestor = parent[ancestor]
    return depth, shared


def shares_prefix(programs: Programs, pool: Integers) -> Masks:
    """[session] whether its context starts with another one's KV: only of the same model in the same pool."""
    other = programs.prefix_session
    same = (pool[other] == pool) & (programs.model[other] == programs.model)
    return programs.prefixed & (programs.prefix_tokens > 0) & same


def segments_of(programs: Programs, pool: Integers, block_tokens: Integers) -> Segments:
    """The segments of a workload; `pool` [session] and the `block_tokens` [session] of its engine."""
    prefix_turn = np.where(
        programs.forked & (programs.parent == programs.prefix_session),
        programs.first_turn[programs.parent] + programs.fork_turn,
        -1,
    )
    prompt = programs.prompt_tokens
    paths = trace_paths(
        programs.first_turn,
        prompt,
        programs.kept_tokens,
        programs.output_tokens,
        shares_prefix(programs, pool).astype(np.int64),
        programs.prefix_session,
        prefix_turn,
        programs.prefix_tokens,
    )
    keys, width = _cuts(paths)
    before: Integers = np.searchsorted(
        keys, np.arange(len(paths.parent) + 1) * width
    )  # cuts of earlier paths

    def segment_at(path: Integers, tokens: Integers) -> Integers:
        """The segment of a path in which the token before `tokens` lies."""
        found = path + np.searchsorted(keys, path * width + tokens)
        return np.where(path == 0, 0, found)

    first: Integers = np.arange(len(paths.parent)) + before[:-1]
    count = len(paths.parent) + len(keys)
    parent, start = np.zeros(count, np.int64), np.zeros(count, np.int64)
    owner = np.repeat(paths.owner, 1 + np.diff(before))
    start[first] = paths.start
    parent[first] = segment_at(paths.parent, paths.start)
    inner = np.ones(count, bool)
    inner[first] = False
    start[inner] = keys % width
    parent[inner] = np.flatnonzero(inner) - 1
    leaf = segment_at(paths.turn, prompt + programs.output_tokens)
    return _records(parent, start, owner, leaf, programs, block_tokens)


def _cuts(paths: Paths) -> tuple[Integers, int]:
    """Where paths are cut, as sorted numbers `path * width + token`."""
    width = int(paths.end.max()) + 2
    # A dead end leaves its path whole, except where others go on from it: they use the path up to there only.
    gone_on = np.zeros(len(paths.parent), bool)
    gone_on[paths.parent] = True
    forks = ((paths.dead_end == 0) | gone_on) & (paths.parent != 0)
    path, token = paths.parent[forks], paths.start[forks]
    inside = (token > paths.start[path]) & (token < paths.end[path])
    return np.unique(path[inside] * width + token[inside]), width


def _records(
    parent: Integers,
    start: Integers,
    owner: Integers,
    leaf: Integers,
    programs: Programs,
    block_tokens: Integers,
) -> Segments:
    segments = records(len(parent), SEGMENT)
    depth, shared = measure(parent, owner)
    blocks = block_tokens[owner]
    segments.parent, segments.depth = parent, depth
    segments.begin = start // blocks * blocks
    segments.owner, segments.shared = owner, shared.astype(bool)
    dead = np.zeros(len(leaf), np.int64)
    first = programs.first_turn[:-1]
    dead[1:] = leaf[:-1]
    reach = programs.prompt_tokens + programs.output_tokens
    edited = np.zeros(len(leaf), bool)
    edited[1:] = programs.kept_tokens[1:] < reach[:-1]
    edited[first] = False
    return Segments(segments, leaf, np.where(edited, dead, 0))
