"""Which hardware, layout and policies serve a workload best: drop what cannot, simulate the rest, compare."""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from perdure.clock import Clock
from perdure.errors import BadRequest
from perdure.models.batch import Batch, Decode, Prefill
from perdure.traces.programs import Programs
from perdure.twin.deployment import Deployment
from perdure.twin.plan_floor import floors_of
from perdure.twin.plan_judge import judged, survivors
from perdure.twin.plan_layouts import Layout
from perdure.twin.plan_measure import usd_per_h
from perdure.twin.plan_pools import Sources, pool_ask, pools_made
from perdure.twin.plan_runs import Runs
from perdure.twin.plan_targets import Target
from perdure.twin.plan_trials import (
    Candidate,
    Choice,
    Trial,
    guessed,
    play,
    rents_guessed,
    timed_play,
    with_rents,
)
from perdure.twin.pool import Pool

CANDIDATES_MAX = 1024
# Any batch in which every kind of operation takes part.
_ANY = Batch(prefills=(Prefill(new_tokens=1),), decodes=(Decode(context_tokens=1),))

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What is to be planned.

    programs  the workload, drawn from each seed
    draws     joint draws of the guesses, for candidates that could be chosen
    goal      the axis that decides among those that meet `targets` and `budgets`
    """

    layouts: tuple[Layout, ...]
    choices: tuple[Choice, ...]
    programs: tuple[Programs, ...]
    targets: tuple[Target, ...] = ()
    budgets: tuple[Target, ...] = ()
    goal: str
    draws: int
    sources: Sources
    folder: Path
    cores: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Every candidate, and whether all that was asked for was done."""

    candidates: tuple[Candidate, ...]
    complete: bool


def search(ask: Ask, *, clock: Clock, on_progress: Progress) -> Found:
    """Simulate what may be feasible; on Ctrl-C, come back with what is known so far."""
    found = _candidates(ask)
    complete = True
    try:
        total = sum(candidate.reason is None for candidate in found)
        on_progress(0, total, "candidates")
        with closing(_mids(ask, found, clock)) as mids:
            for done, (place, candidate) in enumerate(mids, start=1):
                found[place] = candidate
                on_progress(done, total, "candidates")
        found = judged(found, ask.targets, ask.budgets)
        chosen = survivors(found, ask.goal, ask.targets) if ask.draws else []
        with closing(_draws(ask, found, chosen)) as draws:
            for done, (place, candidate) in enumerate(draws, start=1):
                found[place] = candidate
                on_progress(done, len(chosen), "candidates in every draw of the guesses")
    except KeyboardInterrupt:
        complete = False
        found = judged(found, ask.targets, ask.budgets)
    return Found(candidates=tuple(found), complete=complete)


def _candidates(ask: Ask) -> list[Candidate]:
    """Every layout under every choice; a layout that cannot run once, with the reason."""
    found: list[Candidate] = []
    for layout in ask.layouts:
        reason = layout.reason or _priced_out(layout, ask) or _too_slow(layout, ask)
        choices = ask.choices[:1] if reason else ask.choices
        found += [Candidate(layout=layout, choice=choice, reason=reason) for choice in choices]
    if len(found) > CANDIDATES_MAX:
        raise BadRequest(
            f"{len(found)} candidates are more than {CANDIDATES_MAX}; name less hardware or fewer policies",
            param="on",
        )
    return found


def _too_slow(layout: Layout, ask: Ask) -> str | None:
    """Why even the roofline misses a target, or None; pools of several models are left to the twin."""
    if not ask.targets or len(layout.deployments) != 1:
        return None
    floors = floors_of(layout.deployments[0], ask.programs)
    reasons = [floor.missed(ask.targets) for floor in floors]
    return reasons[0] if all(reasons) else None


def _priced_out(layout: Layout, ask: Ask) -> str | None:
    """Why it is over the budget, or None; what has no price is left to whoever reads the plan."""
    bare = Candidate(layout=layout, choice=ask.choices[0])
    cost = usd_per_h(bare)
    for budget in ask.budgets:
        known = {"usd_per_h": cost.mid if cost else None, "chips": float(layout.chips)}
        value = known.get(budget.name)
        if value is not None and value > budget.limit:
            return f"over the budget: {budget.name} is {budget.text_of(value)}, {budget.text} was asked for"
    return None


def _mids(ask: Ask, found: Sequence[Candidate], clock: Clock) -> Generator[tuple[int, Candidate], None, None]:
    """Every candidate that is not dropped, on the workload of every seed."""
    open_places = [place for place, candidate in enumerate(found) if candidate.reason is None]
    results: dict[int, dict[int, tuple[Trial, float]]] = {place: {} for place in open_places}
    with Runs[tuple[Trial, float]](ask.cores) as runs, closing(_pools(ask, found, open_places, 0)) as made:

        def gathered(*, all_of_them: bool) -> Iterator[tuple[int, Candidate]]:
            for (place, number), run in runs.ended(all_of_them=all_of_them):
                results[place][number] = run
                if len(results[place]) == len(ask.programs):
                    yield place, _with_seeds(found[place], results.pop(place))

        for place, pools in made:
            if isinstance(pools, str):
                yield place, replace(found[place], reason=pools)
                continue
            for number, programs in enumerate(ask.programs):
                runs.start(
                    (place, number),
                    partial(timed_play, programs, pools, found[place].choice, stop=runs.stop, clock=clock),
                )
            yield from gathered(all_of_them=False)
        yield from gathered(all_of_them=True)


def _draws(
    ask: Ask, found: Sequence[Candidate], places: Sequence[int]
) -> Generator[tuple[int, Candidate], None, None]:
    """The candidates at `places` on the workload of the first seed, in every draw of the guesses."""
    results: dict[int, dict[int, Trial]] = {place: {} for place in places}
    with Runs[Trial](ask.cores) as runs, closing(_pools(ask, found, places, ask.draws)) as made:

        def gathered(*, all_of_them: bool) -> Iterator[tuple[int, Candidate]]:
            for (place, number), trial in runs.ended(all_of_them=all_of_them):
                results[place][number] = trial
                if len(results[place]) == ask.draws:
                    drawn = results.pop(place)
                    yield place, _with_draws(found[place], [drawn[one] for one in range(ask.draws)])

        for place, pools in made:
            assert not isinstance(pools, str), "the same pool was made before"
            if not guessed(pools):
                drawn = _rents_drawn(found[place], pools, ask.draws)
                yield place, _with_draws(found[place], drawn)
                continue
            for number in range(ask.draws):
                runs.start(
                    (place, number),
                    partial(play, ask.programs[0], pools, found[place].choice, number=number, stop=runs.stop),
                )
            yield from gathered(all_of_them=False)
        yield from gathered(all_of_them=True)


def _pools(
    ask: Ask, found: Sequence[Candidate], places: Sequence[int], draws: int
) -> Generator[tuple[int, list[Pool] | str], None, None]:
    """Each of `places` with its pools, or why they cannot be, as soon as they are there."""
    texts = {
        text: deployment
        for place in places
        for text, deployment in zip(found[place].layout.parts, found[place].layout.deployments, strict=True)
    }
    # Where nothing is guessed, the pool of no draws is there already, and all that there is.
    asks = [
        pool_ask(text, draws=draws if draws and _guessed(deployment) else 0, sources=ask.sources)
        for text, deployment in texts.items()
    ]
    left = list(places)
    pools: dict[str, Pool] = {}
    with closing(pools_made(asks, ask.folder, processes=ask.cores)) as made:
        for one, pool in made:
            if isinstance(pool, Pool):
                pools[one.text] = pool
            for place in [place for place in left if one.text in found[place].layout.parts]:
                parts = found[place].layout.parts
                if isinstance(pool, str):
                    left.remove(place)
                    yield place, pool
                elif all(part in pools for part in parts):
                    left.remove(place)
                    yield place, [pools[part] for part in parts]


def _guessed(deployment: Deployment) -> bool:
    """Whether seconds there differ from draw to draw."""
    instance = deployment.instance
    return bool(instance.machines(instance.rating(instance.lowering.sums(_ANY))))


def _with_seeds(candidate: Candidate, runs: Mapping[int, tuple[Trial, float]]) -> Candidate:
    ordered = [runs[number] for number in range(len(runs))]
    return replace(
        candidate,
        seeds=tuple(trial for trial, _ in ordered),
        kernel_s=sum(kernel_s for _, kernel_s in ordered),
    )


def _with_draws(candidate: Candidate, drawn: Sequence[Trial]) -> Candidate:
    return replace(candidate, draws=tuple(drawn), drawn=True)


def _rents_drawn(candidate: Candidate, pools: Sequence[Pool], draws: int) -> list[Trial]:
    """Where nothing but rents is guessed, the run is the one there is; none where nothing is."""
    if not rents_guessed(pools):
        return []
    return [with_rents(candidate.seeds[0], pools, number) for number in range(draws)]
