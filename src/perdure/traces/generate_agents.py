"""What `agents:` workloads are: programs of sessions drawn from a preset's laws.

1. Tenants are drawn, and the main session of each program: its turns, its window, its first prompt.
2. Sub-sessions are drawn: whose, when they fork and which turn waits for them.
3. Every turn gets its answer, its fresh tokens, its gap; one that waits, the sub-session's answer too.
4. Contexts grow (`generate_context`), and all is laid out as columns (`generate_layout`).
"""

from dataclasses import dataclass, replace

import numpy as np

from perdure.errors import BadRequest
from perdure.traces.arrivals import Arrivals, arrivals_at_rate, arrivals_within
from perdure.traces.chance import stream
from perdure.traces.generate_context import OWN_TOKENS_MIN, Growth, grow
from perdure.traces.generate_family import PROFILES, Family, Role, draw_family
from perdure.traces.generate_law import coupled
from perdure.traces.generate_layout import Cohort, lay_out
from perdure.traces.generate_preset import Preset
from perdure.traces.generate_tenants import Tenancy, draw_tenancy
from perdure.traces.generate_turns import Habits, Turns, draw_turns
from perdure.traces.programs import Floats, Integers, Programs

TURNS_MAX = 5_000
SESSIONS_MAX = 4_000_000
ALL_TURNS_MAX = 50_000_000
PROMPTS_MAX = 1_000_000
NEVER_COMPACTED_TOKENS = 1 << 40
RECORDED_WINDOW_TOKENS = 200_000
# Of a window that was named: an answer must find room as well.
COMPACT_SHARE_MAX = 0.91


@dataclass(frozen=True, slots=True, kw_only=True)
class Agents:
    """A workload of agents.

    hours           programs start within them, and the run ends there; None: it runs until all is done
    rate_per_s      instead: so many programs start a second; concurrency: instead, so many run at once
    roles           the first is the main session's; of the others each program (a share of `subagents`) has
                    `subagents_each` in the mean
    fork_share      of sub-sessions on the main session's model go on from its context; all others begin
                    with a system prompt of their own
    prompts         different system prompts of each tenant's programs
    window_tokens   of the model; None: as recorded, 200k for most and 1M for some
    compaction      whether contexts that would fill the window are compacted
    """

    preset: Preset
    programs: int
    hours: float | None
    rate_per_s: float | None
    concurrency: int | None
    arrivals: Arrivals
    tenants: int
    mixes: int
    roles: tuple[Role, ...]
    subagents: float
    subagents_each: float
    fork_share: float
    prompts: int
    tool_failure: float
    window_tokens: int | None
    compaction: bool
    seed: int


def agents_programs(options: Agents) -> Programs:
    """The workload of `options`."""
    _check_size(options)
    tenancy = draw_tenancy(options.programs, tenants=options.tenants, mixes=options.mixes, seed=options.seed)
    scores = stream(options.seed, "agents/turns").standard_normal(options.programs)
    counts = _counts(options.preset.spreads["turns"].at(scores) * tenancy.turns)
    family = draw_family(
        counts, options.roles, share=options.subagents, each=options.subagents_each, seed=options.seed
    )
    _check("turns", int(counts.sum()), ALL_TURNS_MAX)
    subs = _sub_turns(options, family, tenancy)
    mains = _with_results(_main_turns(options, counts, tenancy), family, subs)
    main = _main_sessions(options, mains, tenancy, scores)
    sub = _sub_sessions(options, family, subs, tenancy, main)
    return lay_out(
        main,
        sub,
        family,
        models=tuple(dict.fromkeys(role.model for role in options.roles)),
        arrival_s=_arrivals(options),
        tenant=tenancy.tenant,
        tenants=("all",)
        if options.tenants == 1
        else tuple(f"tenant-{n + 1}" for n in range(options.tenants)),
        concurrency=options.concurrency,
        end_s=None if options.hours is None else options.hours * 3600.0,
    )


def _check_size(options: Agents) -> None:
    """Refuse what would not fit into memory, before anything is drawn."""
    others = (len(options.roles) - 1) * options.subagents * options.subagents_each
    _check("sessions", round(options.programs * (1 + others)), SESSIONS_MAX)
    _check("system prompts", options.tenants * options.prompts, PROMPTS_MAX)


def _check(what: str, count: int, limit: int) -> None:
    if count > limit:
        raise BadRequest(
            f"that would be {count:,} {what}; the limit is {limit:,}. Take fewer programs or tenants",
            param="workload",
        )


def _main_turns(options: Agents, counts: Integers, tenancy: Tenancy) -> Turns:
    habits = Habits(
        turns=counts,
        fresh=tenancy.fresh,
        output=tenancy.output * PROFILES[options.roles[0].name].output,
        gap=tenancy.gap,
        tool_share=options.preset.numbers["tool_share"],
        tool_failure=options.tool_failure,
        rewrite_share=options.preset.numbers["rewrite_share"],
        purpose="main",
    )
    return draw_turns(options.preset, habits, options.seed)


def _sub_turns(options: Agents, family: Family, tenancy: Tenancy) -> Turns:
    """Sub-sessions work alone: all their gaps are a tool's, and nobody edits what they sent."""
    profiles = [PROFILES[role.name] for role in options.roles]
    scores = stream(options.seed, "agents/sub/turns").standard_normal(len(family.program))
    counts = options.preset.spreads["subagent_turns"].at(scores) * tenancy.turns[family.program]
    habits = Habits(
        turns=_counts(counts * np.array([profile.turns for profile in profiles])[family.role]),
        fresh=tenancy.fresh[family.program] * options.preset.numbers["subagent_factor"],
        output=tenancy.output[family.program] * np.array([one.output for one in profiles])[family.role],
        gap=tenancy.gap[family.program],
        tool_share=1.0,
        tool_failure=options.tool_failure,
        rewrite_share=0.0,
        purpose="sub",
    )
    return draw_turns(options.preset, habits, options.seed)


def _with_results(mains: Turns, family: Family, subs: Turns) -> Turns:
    """`mains`; the turn that waits for a sub-session has its last answer among the fresh tokens."""
    fresh = mains.fresh_tokens.copy()
    waiting = mains.starts[family.program] + family.join_turn
    results = subs.output_tokens[subs.starts + subs.counts - 1]
    np.add.at(fresh, waiting[family.joined], results[family.joined])
    return replace(mains, fresh_tokens=fresh)


def _main_sessions(options: Agents, turns: Turns, tenancy: Tenancy, turns_scores: Floats) -> Cohort:
    """Main sessions with their contexts; short ones go on from an earlier day more often than long ones."""
    preset, seed, count = options.preset, options.seed, options.programs
    own = stream(seed, "agents/first").standard_normal(count)
    first = preset.spreads["first_tokens"].at(coupled(turns_scores, own, preset.numbers["first_coupling"]))
    group = tenancy.tenant * options.prompts + stream(seed, "agents/prompt").integers(
        options.prompts, size=count
    )
    scores = stream(seed, "agents/prompts").standard_normal(options.tenants * options.prompts)
    system = preset.spreads["system_tokens"].at(scores)[group].astype(np.int64)
    limit = _compact_tokens(options, first)
    kept, prompts = grow(_growth(turns, system, first.astype(np.int64), limit))
    return Cohort(
        turns=turns,
        model=np.zeros(count, dtype=np.int64),
        start=group,
        system_tokens=system,
        compact_tokens=limit,
        kept_tokens=kept,
        prompt_tokens=prompts,
        continues=np.zeros(count, dtype=np.bool_),
        continued_tokens=np.zeros(count, dtype=np.int64),
    )


def _sub_sessions(options: Agents, family: Family, turns: Turns, tenancy: Tenancy, main: Cohort) -> Cohort:
    """Sub-sessions with their contexts: they go on from the main one's, or are told what its answer says."""
    models = list(dict.fromkeys(role.model for role in options.roles))
    model = np.array([models.index(role.model) for role in options.roles], dtype=np.int64)[family.role]
    start, system, first = _own_beginnings(options, family, tenancy)
    fork = main.turns.starts[family.program] + family.fork_turn
    answer, limit = main.turns.output_tokens[fork], main.compact_tokens[family.program]
    context = main.prompt_tokens[fork] + answer
    task = np.maximum(first - system, OWN_TOKENS_MIN)
    wished = stream(options.seed, "agents/sub/fork").random(len(model)) < options.fork_share
    continues = wished & (model == 0) & (context + task <= limit)
    first = np.where(continues, context + task, np.maximum(first, system + answer + OWN_TOKENS_MIN))
    system = np.where(continues, main.system_tokens[family.program], system)
    kept, prompts = grow(_growth(turns, system, first, limit))
    return Cohort(
        turns=turns,
        model=model,
        start=start,
        system_tokens=system,
        compact_tokens=limit,
        kept_tokens=kept,
        prompt_tokens=prompts,
        continues=continues,
        continued_tokens=np.where(continues, context, 0),
    )


def _own_beginnings(options: Agents, family: Family, tenancy: Tenancy) -> tuple[Integers, Integers, Integers]:
    """What sub-sessions begin with that do not go on: which system prompt, its tokens, the first prompt's."""
    roles = len(options.roles)
    kind = tenancy.tenant[family.program] * roles + family.role
    kinds = stream(options.seed, "agents/sub/prompts").standard_normal(options.tenants * roles)
    system = options.preset.spreads["subagent_system_tokens"].at(kinds)[kind].astype(np.int64)
    scores = stream(options.seed, "agents/sub/first").standard_normal(len(kind))
    first = options.preset.spreads["subagent_first_tokens"].at(scores).astype(np.int64)
    # Main sessions' starts come first, so that the two are never taken for each other.
    return options.tenants * options.prompts + kind, system, first


def _growth(turns: Turns, system: Integers, first: Integers, limit: Integers) -> Growth:
    return Growth(
        turns=turns.counts,
        system_tokens=system,
        first_tokens=first,
        compact_tokens=limit,
        fresh_tokens=turns.fresh_tokens,
        output_tokens=turns.output_tokens,
        compacted_tokens=turns.compacted_tokens,
        rewritten=turns.rewritten,
    )


def _compact_tokens(options: Agents, first_tokens: Floats) -> Integers:
    """What no prompt goes beyond: within the recorded share of the window, which differs by client."""
    count, numbers = options.programs, options.preset.numbers
    if not options.compaction:
        return np.full(count, NEVER_COMPACTED_TOKENS)
    place = stream(options.seed, "agents/window").random(count)
    ordinary = numbers["compact_low"] + place * (numbers["compact_high"] - numbers["compact_low"])
    if options.window_tokens is not None:
        share = np.minimum(ordinary / RECORDED_WINDOW_TOKENS, COMPACT_SHARE_MAX)
        return (share * options.window_tokens).astype(np.int64)
    large = numbers["large_low"] + place * (numbers["large_high"] - numbers["large_low"])
    chosen = stream(options.seed, "agents/large").random(count) < numbers["large_share"]
    # A session that already begins beyond an ordinary window must have a large one.
    return np.where(chosen | (first_tokens > numbers["compact_low"]), large, ordinary).astype(np.int64)


def _arrivals(options: Agents) -> Floats:
    draws = stream(options.seed, "agents/arrivals")
    if options.concurrency is not None:
        return np.zeros(options.programs)
    if options.rate_per_s is not None:
        return arrivals_at_rate(options.arrivals, options.programs, options.rate_per_s, draws)
    assert options.hours is not None
    return arrivals_within(options.arrivals, options.programs, options.hours * 3600.0, draws)


def _counts(turns: Floats) -> Integers:
    return np.clip(np.rint(turns), 1, TURNS_MAX).astype(np.int64)
