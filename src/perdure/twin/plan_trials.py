"""What one candidate came to: the workload of each seed, and joint draws of what is guessed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from threading import Event
from typing import Any

import numpy as np

from perdure.clock import Clock
from perdure.silicon.ranges import ALL_DRAWS, Range
from perdure.traces.programs import Programs
from perdure.twin.kernel_arrays import World
from perdure.twin.kernel_records import DONE
from perdure.twin.plan_layouts import Layout
from perdure.twin.pool import Costs, Pool
from perdure.twin.result import SECONDS_PER_HOUR, Result, result_of
from perdure.twin.simulate import Policies, run_world
from perdure.twin.world import Options, lay_out, make_world

MOST = 0.9


class Stopped(Exception):
    """Somebody pressed Ctrl-C: what runs is given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Policies as a candidate has them: what they are called, and compiled, once for all runs."""

    name: str
    names: Mapping[str, str]
    options: Options
    compiled: tuple[Any, Any, Any, Any]

    @classmethod
    def of(cls, name: str, names: Mapping[str, str], policies: Policies, options: Options) -> "Choice":
        """Compile `policies`."""
        return cls(
            name=name,
            names=names,
            options=replace(
                options,
                first_come=policies.first_come,
                asks_admit=policies.asks_admit,
                asks_retain=policies.asks_retain,
            ),
            compiled=policies.compiled(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One run: its result, watts of the whole fleet at idle, and when `MOST` of the work was done."""

    result: Result
    idle_w: float | None
    mostly_done_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A layout under policies, and what is known of it so far.

    reason   why it is out of the race, or None; of one that was never simulated, why not
    seeds    its result on the workload of each seed, with every guess at its mid
    draws    its result on the first of them in each joint draw of the guesses; none where not drawn, or
             where nothing is guessed
    """

    layout: Layout
    choice: Choice
    reason: str | None = None
    seeds: tuple[Trial, ...] = ()
    draws: tuple[Trial, ...] = field(default=(), repr=False)
    drawn: bool = False
    kernel_s: float = 0.0

    @property
    def name(self) -> str:
        """What a person types to ask about it."""
        return f"{self.layout.text} {self.choice.name}"

    @property
    def result(self) -> Result:
        """On the first seed."""
        return self.seeds[0].result


def play(
    programs: Programs, pools: Sequence[Pool], choice: Choice, *, number: int | None, stop: Event
) -> Trial:
    """One run, with every guess at its mid or as in draw `number`."""
    layout = lay_out(programs, pools)
    costs = [_costs(pool, number) for pool in pools]
    world = make_world(layout, choice.options, costs)

    def look(_: World) -> None:
        if stop.is_set():
            raise Stopped

    look(world)
    run_world(world, choice.compiled, on_progress=look)
    result = result_of(world, pools, costs, [rent_at(pool.usd_per_chip_h, number) for pool in pools])
    return Trial(result=result, idle_w=_idle_w(pools, costs), mostly_done_s=_mostly_done_s(world))


def timed_play(
    programs: Programs, pools: Sequence[Pool], choice: Choice, *, stop: Event, clock: Clock
) -> tuple[Trial, float]:
    """The mid draw, and the seconds that it took."""
    begun_s = clock.monotonic_s()
    trial = play(programs, pools, choice, number=None, stop=stop)
    return trial, clock.monotonic_s() - begun_s


def guessed(pools: Sequence[Pool]) -> bool:
    """Whether seconds or joules of any pool differ from draw to draw."""
    return any(pool.draws for pool in pools)


def rents_guessed(pools: Sequence[Pool]) -> bool:
    """Whether a rent is a range."""
    return any(pool.usd_per_chip_h is not None and pool.usd_per_chip_h.guessed for pool in pools)


def with_rents(trial: Trial, pools: Sequence[Pool], number: int) -> Trial:
    """A run in which nothing is guessed but rents, at the rents of draw `number`."""
    rents = [rent_at(pool.usd_per_chip_h, number) for pool in pools]
    if any(rent is None for rent in rents):
        return trial
    chips = [pool.chips * pool.replicas for pool in pools]
    per_h = sum(rent * count for rent, count in zip(rents, chips, strict=True) if rent is not None)
    money_usd = per_h * trial.result.simulated_s / SECONDS_PER_HOUR
    return replace(trial, result=replace(trial.result, money_usd=money_usd))


def rent_at(rent: Range | None, number: int | None) -> float | None:
    """Dollars for a chip and hour in one draw."""
    if rent is None:
        return None
    return rent.mid if number is None else rent.at(ALL_DRAWS[number].luck("rent"))


def _costs(pool: Pool, number: int | None) -> Costs:
    return pool.mid if number is None or not pool.draws else pool.draws[number]


def _idle_w(pools: Sequence[Pool], costs: Sequence[Costs]) -> float | None:
    powers = [cost.power for cost in costs]
    if any(power is None for power in powers):
        return None
    return sum(power.idle_w * pool.replicas for power, pool in zip(powers, pools, strict=True) if power)


def _mostly_done_s(world: World) -> float | None:
    """When `MOST` of all tokens that were generated had been; after that the last jobs run nearly alone."""
    ended = world.turns.outcome == DONE
    if not ended.any():
        return None
    ended_s, tokens = world.turns.ended_s[ended], world.turns.output[ended]
    order = np.argsort(ended_s, kind="stable")
    done = np.cumsum(tokens[order])
    return float(ended_s[order][np.searchsorted(done, MOST * done[-1])])
