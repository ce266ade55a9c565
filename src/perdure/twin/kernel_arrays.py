"""What the compiled twin works on: one array for each kind of thing."""

from typing import TYPE_CHECKING, Any

import numpy as np

from perdure.models.cost_compiled import CompiledTable
from perdure.twin.kernel_heap import ENDING, EVENT
from perdure.twin.kernel_records import (
    CLOCK,
    HOLDER,
    NODE,
    POOL,
    PROGRAM,
    REPLICA,
    SAMPLE,
    SEGMENT,
    SESSION,
    SLOT,
    TOLD,
    TURN,
)
from perdure.twin.kernel_records_beside import FAULT, TENANT

FIELDS: dict[str, tuple[Any, int]] = {
    "clock": (CLOCK, 1),
    "programs": (PROGRAM, 1),
    "starts": (np.int64, 1),
    "sessions": (SESSION, 1),
    "turns": (TURN, 1),
    "segments": (SEGMENT, 1),
    "nodes": (NODE, 1),
    "holders": (HOLDER, 1),
    "told": (TOLD, 1),
    "pools": (POOL, 1),
    "replicas": (REPLICA, 1),
    "slots": (SLOT, 2),
    "free_slots": (np.int64, 2),
    "prompts": (np.int64, 2),
    "endings": (ENDING, 2),
    "crossings": (ENDING, 3),
    "crossing_counts": (np.int64, 2),
    "phases": (np.int64, 2),
    "reads": (np.float64, 2),
    "growth": (np.float64, 2),
    "winners": (np.int64, 1),
    "due_s": (np.float64, 1),
    "events": (EVENT, 1),
    "faults": (FAULT, 1),
    "tenants": (TENANT, 1),
    "beliefs": (np.int32, 2),
    "path": (np.int64, 1),
    "believed": (np.int64, 1),
    "busy": (np.float64, 3),
    "mixed": (np.float64, 3),
    "gaps": (np.float64, 2),
    "served": (np.float64, 1),
    "weights": (np.float64, 1),
    "calls": (np.int64, 1),
    "scratch": (np.float64, 1),
    "samples": (SAMPLE, 2),
    "tier_samples": (np.int64, 3),
    "software_s": (np.float64, 1),
    "grids": (np.int64, 3),
    "lines": (np.float64, 4),
    "decode": (np.float64, 4),
    "prompt_cells": (np.float64, 3),
    "context_knots": (np.float64, 2),
    "span_limits": (np.float64, 2),
    "span_every": (np.float64, 2),
}


class World:
    """Everything that the kernel reads and changes: the arrays of FIELDS, by name.

    starts    programs in order of arrival
    told      a ring of what engines told the router and it has not taken in; only HBM is told of
    free_slots, prompts  [replica, sequences] slots that are free; slots whose prompts are not computed yet
    endings   [replica, sequences] heaps of the steps at which answers end; crossings [.., span, ..] of those
              at which a sequence reaches the limit of a span
    phases    [replica, block] decoding sequences by where in a block they are
    reads     [replica, span] what the decodes of the next step read; growth: how much more at each step
    winners   a tournament of replicas by when they have something to do; due_s [replica] when that is
    beliefs   [segment, replica] tokens of the context that the router believes held
    path      room for one chain of segments; believed [replica] for what is believed of it
    busy      [pool, sequences, context] seconds of decode steps; mixed [pool, tokens, context] of others
    gaps      [2] by kind (person, tool) and bin: how often a gap was so long; last, the sum of all
    samples   [time, pool] what pools were doing; tier_samples [time, pool, level] blocks used below HBM
    served    [tenant] engine seconds that the calls of a tenant had; weights: shares that it is owed;
              calls: that it has under way
    software_s .. context_knots  [pool, ..] the `CompiledTable` of each pool, padded to the largest
    span_limits, span_every  [pool, span] entries that a span sees at most (inf for all); tokens to an entry

    Compiled code gets the address of one table of addresses, so that a call passes one number.
    """

    __slots__ = ("addresses", *FIELDS)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def __init__(self, **arrays: Any) -> None:
        assert set(arrays) == set(FIELDS), set(arrays) ^ set(FIELDS)
        words: list[int] = []
        for name, (kind, dimensions) in FIELDS.items():
            array = arrays[name]
            assert array.dtype == kind, name
            assert array.ndim == dimensions, name
            assert array.flags.c_contiguous, name
            setattr(self, name, array)
            words += [array.ctypes.data, *array.shape]
        self.addresses = np.array(words, np.int64)


def stack_tables(tables: list[CompiledTable]) -> dict[str, np.ndarray]:
    """The tables of all pools as one set of arrays, padded to the largest."""

    def stacked(name: str) -> np.ndarray:
        parts = [np.asarray(getattr(table, name)) for table in tables]
        shape = tuple(max(part.shape[axis] for part in parts) for axis in range(parts[0].ndim))
        whole = np.zeros((len(parts), *shape), dtype=parts[0].dtype)
        for number, part in enumerate(parts):
            whole[(number, *(slice(size) for size in part.shape))] = part
        return whole

    found = {name: stacked(name) for name in ("grids", "lines", "decode", "context_knots")}
    found["prompt_cells"] = stacked("prompts")
    found["software_s"] = np.array([table.software_s for table in tables])
    return found
