"""What holds for every comparison of a plan: fronts, prices, targets, pruning by the roofline."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.catalog.load import load_catalog
from perdure.clock import VirtualClock
from perdure.scheduling.policies import KINDS, bundle, named
from perdure.silicon.price_rent import Rent, typed_rents
from perdure.traces.workload_text import parse_workload
from perdure.twin.plan import Ask, Found, search
from perdure.twin.plan_floor import floors_of
from perdure.twin.plan_judge import feasible, on_front
from perdure.twin.plan_layouts import Asked, layouts_of
from perdure.twin.plan_measure import AXES, CALL, JOULES, MONEY, TIME, front, mean
from perdure.twin.plan_pools import Sources
from perdure.twin.plan_targets import read_slo
from perdure.twin.plan_trials import Choice
from perdure.twin.result import figures_of
from perdure.twin.simulate import Policies
from perdure.twin.world import Options

CATALOG = load_catalog()
MODEL = "smollm2-135m"
ON = (f"h200/{MODEL}:tp=1", f"m890/{MODEL}:tp=1", f"h200x3/{MODEL}:tp=3")
WORKLOADS = (
    "synthetic:requests=24,input=600,output=40,turns=3,gap=1,concurrency=4",
    "synthetic:requests=16,input=6000,output=8,rate=50",
)

points = st.lists(
    st.tuples(*[st.one_of(st.none(), st.integers(0, 4).map(float)) for _ in AXES]), min_size=1, max_size=12
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pools are kept: each is made once for all tests here."""
    return tmp_path_factory.mktemp("pools")


def stock() -> Choice:
    names = bundle("stock")
    chosen = {kind: getattr(names, kind) for kind in KINDS}
    return Choice.of("stock", chosen, Policies(**{k: named(k, chosen[k]) for k in KINDS}), Options())


STOCK = stock()


def planned(
    folder: Path, workload: str, slo: str = "", rents: dict[str, Rent] | None = None, on: tuple[str, ...] = ON
) -> Found:
    """A plan of three small pools."""
    ask = Ask(
        layouts=tuple(layouts_of(Asked(on=on, model=None), CATALOG, rents or {})),
        choices=(STOCK,),
        programs=(parse_workload(workload, rng_seed=0),),
        targets=read_slo(slo) if slo else (),
        goal=TIME,
        draws=0,
        sources=Sources(rents=rents or {}),
        folder=folder,
        cores=1,
    )
    return search(ask, clock=VirtualClock(), on_progress=lambda *_: None)


@given(points=points)
def test_a_dominated_point_is_never_on_the_front(points: list[tuple[float | None, ...]]) -> None:
    """Law: whatever another beats in one axis and nowhere loses to is off; somebody is always on."""
    marks = front(points)
    worst = [tuple(float("inf") if value is None else value for value in point) for point in points]
    assert any(marks)
    for mark, point in zip(marks, worst, strict=True):
        beaten = any(
            other != point and all(x <= y for x, y in zip(other, point, strict=True)) for other in worst
        )
        assert not (mark and beaten)
        if not beaten:
            assert any(kept and other == point for kept, other in zip(marks, worst, strict=True))


@given(points=points, unpriced=st.integers(0, 11))
def test_losing_a_price_never_brings_a_point_onto_the_front(
    points: list[tuple[float | None, ...]], unpriced: int
) -> None:
    """Law: a row without a price leaves the front of money; it cannot gain by not being known."""
    place = unpriced % len(points)
    before = front(points)[place]
    without = [(time, None if at == place else money, j) for at, (time, money, j) in enumerate(points)]
    twins = points.count(points[place]) > 1
    assert before or twins or not front(without)[place]


def test_pruning_drops_only_what_would_miss(folder: Path) -> None:
    """Law: what the roofline drops under a target misses it when simulated, at every limit and workload."""
    for workload, figure, name in (
        (WORKLOADS[0], CALL, "e2e_mean"),
        (WORKLOADS[1], "ttft_s.p95", "ttft_p95"),
    ):
        everything = planned(folder, workload)
        values = [mean(one, figure) for one in everything.candidates]
        dropped = 0
        for limit_s in [value * share for value in values if value for share in (0.005, 0.6, 1.01)]:
            pruned = planned(folder, workload, f"{name}<={limit_s:.12f}s")
            dropped += sum(not one.seeds for one in pruned.candidates)
            for one, plain in zip(pruned.candidates, everything.candidates, strict=True):
                measured = mean(plain, figure)
                assert measured is not None
                assert feasible(one) == (measured <= round(limit_s, 12)), (one.name, name, limit_s)
        assert dropped, "far under what is measured the roofline drops some"


def test_the_floor_is_under_every_simulated_figure(folder: Path) -> None:
    """Law: no call and no job of the twin is quicker than the roofline with every guess at its best."""
    for workload in WORKLOADS:
        programs = parse_workload(workload, rng_seed=0)
        for one in planned(folder, workload).candidates:
            (floor,) = floors_of(one.layout.deployments[0], [programs])
            measured = figures_of(one.result)
            assert {"jct_s.mean", "ttft_s.p99", "tpot_s.p50", "e2e_s.p95"} <= set(floor.figures)
            for name, least in floor.figures.items():
                assert least <= measured[name] * (1 + 1e-9), (one.name, name)


@pytest.mark.parametrize("factor", [0.25, 3.0])
def test_prices_scale_money_and_nothing_else(folder: Path, factor: float) -> None:
    """Law: chips at so many times the rent cost so many times the money, in the same time and joules."""
    cheap = typed_rents(["h200=2"])["h200"]
    dear = Rent(usd_per_h=cheap.usd_per_h.times(factor), status=cheap.status, source=cheap.source)
    h200 = CATALOG.chip("h200").id
    one, other = (
        planned(folder, WORKLOADS[0], rents={h200: rent}, on=ON[:1]).candidates[0] for rent in (cheap, dear)
    )
    assert mean(one, TIME) == mean(other, TIME)
    assert mean(one, JOULES) == mean(other, JOULES)
    mine, theirs = mean(one, MONEY), mean(other, MONEY)
    assert mine
    assert theirs
    assert abs(theirs / mine - factor) < 1e-9 * factor


def test_a_feasible_candidate_is_on_the_front(folder: Path) -> None:
    """Law: of candidates that run, at least one is on the front, and none that is out."""
    found = planned(folder, WORKLOADS[0], "ttft_p95<=10s").candidates
    marks = on_front(found)
    assert any(marks)
    assert not any(mark and not feasible(one) for mark, one in zip(marks, found, strict=True))
