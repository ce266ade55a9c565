"""How requests that have nothing to do with each other become a workload: a program of one turn each."""

from collections.abc import Sequence

import numpy as np

from perdure.traces.calls import OUTPUT_TOKENS_MAX, PROMPT_TOKENS_MAX, Tally
from perdure.traces.programs import Floats, Integers, Masks, Programs, check_programs


def flat_programs(
    arrival_s: Floats,
    prompt_tokens: Integers,
    output_tokens: Integers,
    *,
    models: Sequence[str],
    tenants: Sequence[str],
    tally: Tally,
) -> Programs:
    """A program for each request, in order of arrival, counted from the first; what cannot be is left out."""
    kept = _sound(arrival_s, prompt_tokens, output_tokens, tally)
    backwards = int((np.diff(arrival_s[kept]) < 0).sum())
    if backwards:
        tally.repaired["a time that goes backwards, requests put in order"] += backwards
    order = np.flatnonzero(kept)[np.argsort(arrival_s[kept], kind="stable")]
    model_names, model = _places([models[int(index)] for index in order])
    tenant_names, tenant = _places([tenants[int(index)] for index in order])
    tally.calls += len(order)
    empty = output_tokens[order] == 0
    if empty.any():
        tally.repaired["an empty answer, taken as one token"] += int(empty.sum())
    none, off = np.zeros(len(order), dtype=np.int64), np.zeros(len(order), dtype=np.bool_)
    times_s = arrival_s[order]
    return check_programs(
        Programs(
            models=model_names,
            tenants=tenant_names,
            arrival_s=times_s - times_s[0] if len(order) else times_s,
            tenant=tenant,
            program=np.arange(len(order)),
            model=model,
            forked=off,
            parent=none,
            fork_turn=none,
            joined=off,
            join_turn=none,
            prefixed=off,
            prefix_session=none,
            prefix_tokens=none,
            first_turn=np.arange(len(order) + 1),
            kept_tokens=none,
            new_tokens=prompt_tokens[order],
            output_tokens=np.maximum(output_tokens[order], 1),
            gap_s=np.zeros(len(order)),
            tool=off,
            attempts=np.ones(len(order), dtype=np.int64),
        )
    )


def _sound(arrival_s: Floats, prompt_tokens: Integers, output_tokens: Integers, tally: Tally) -> Masks:
    kept = np.ones(len(arrival_s), dtype=np.bool_)
    for reason, wrong in (
        ("a negative number of tokens", (prompt_tokens < 0) | (output_tokens < 0)),
        (
            f"more than {PROMPT_TOKENS_MAX:,} tokens",
            (prompt_tokens > PROMPT_TOKENS_MAX) | (output_tokens > OUTPUT_TOKENS_MAX),
        ),
        ("an empty prompt", prompt_tokens == 0),
        ("no time", ~np.isfinite(arrival_s)),
    ):
        left_out = int((wrong & kept).sum())
        if left_out:
            tally.skipped[reason] += left_out
        kept &= ~wrong
    return kept


def _places(names: Sequence[str]) -> tuple[tuple[str, ...], Integers]:
    place: dict[str, int] = {}
    places = [place.setdefault(name, len(place)) for name in names]
    return tuple(place) or ("all",), np.array(places, dtype=np.int64)
