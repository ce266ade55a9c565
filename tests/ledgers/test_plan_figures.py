"""Figures of a plan that can be checked on paper: limits, layouts, floors, money of a job, choices."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from perdure.catalog.load import load_catalog
from perdure.errors import BadRequest
from perdure.models.precision import PRECISIONS
from perdure.silicon.price_rent import typed_rents
from perdure.silicon.ranges import exactly
from perdure.traces.workload_text import parse_workload
from perdure.twin.deployment_text import parse_deployment
from perdure.twin.plan_choice import break_even, choose
from perdure.twin.plan_codesign import Effect, advice
from perdure.twin.plan_facts import read_facts, read_power_price
from perdure.twin.plan_floor import floors_of
from perdure.twin.plan_judge import closest, judged, on_front
from perdure.twin.plan_layouts import Asked, Layout, layouts_of, read_filter
from perdure.twin.plan_measure import (
    CALL,
    JOULES,
    MONEY,
    TIME,
    chip_hours,
    confidence,
    electricity_usd_per_job,
    mean,
    spread,
    usd_per_h,
)
from perdure.twin.plan_targets import read_budget, read_slo
from perdure.twin.plan_trials import Candidate, Choice, Trial
from perdure.twin.plan_vary import Scales, Vary, read_vary, varied
from perdure.twin.result import Result, summary
from perdure.twin.world import Options

CATALOG = load_catalog()
STOCK = Choice(name="stock", names={}, options=Options(), compiled=(None, None, None, None))
RENTS = {CATALOG.chip(name).id: rent for name, rent in typed_rents(["h200=2", "m890=1..3"]).items()}


def result(*, job_s: float, money_usd: float | None, energy_j: float | None = 1e6) -> Result:
    """Ten jobs of `job_s` each in an hour."""
    times = summary(np.array([job_s]))
    known: dict[str, Any] = {
        "turns": 100,
        "programs": 10,
        "programs_all": 10,
        "simulated_s": 3600.0,
        "jct_s": times,
        "ttft_s": times,
        "tpot_s": times,
        "e2e_s": times,
        "outcomes": {},
        "energy_j": energy_j,
        "money_usd": money_usd,
        "ranges": {},
    }
    # Whatever else a result has does not matter here.
    return Result(**{field.name: known.get(field.name, 0) for field in fields(Result)})


def trial(job_s: float, money_usd: float | None, *, done_s: float = 1800.0) -> Trial:
    return Trial(result=result(job_s=job_s, money_usd=money_usd), idle_w=100.0, mostly_done_s=done_s)


def candidate(text: str, *trials: Trial, drawn: tuple[Trial, ...] = ()) -> Candidate:
    (layout,) = layouts_of(Asked(on=(text,), model=None), CATALOG, RENTS)
    return Candidate(layout=layout, choice=STOCK, seeds=trials, draws=drawn, drawn=bool(drawn))


H200 = "h200x8/llama-3.1-8b:tp=8"
M890 = "m890x4/llama-3.1-8b:tp=4"


def test_limits_are_read_in_any_unit() -> None:
    """jct_p95<=10min is 600 s of the figure jct_s.p95; a budget is in what its name says."""
    jct, ttft = read_slo("jct_p95<=10min, ttft_p95 <= 250ms")
    assert (jct.figure, jct.limit, ttft.figure, ttft.limit) == ("jct_s.p95", 600.0, "ttft_s.p95", 0.25)
    (budget,) = read_budget("usd_per_h<=200")
    assert (budget.figure, budget.limit) == ("usd_per_h", 200.0)


@pytest.mark.parametrize(
    "text, said",
    [
        ("jct_p59<=600s", "did you mean jct_p"),
        ("tfft_p95<=2s", "did you mean ttft_p95"),
        ("jct_p95<=600parsecs", "takes s, ms, us, min or h"),
        ("jct_p95>=600s", "write it as"),
        ("jct_p95<=0s", "write a limit above it"),
        (" , ", "1 to 16 limits"),
    ],
)
def test_a_limit_that_makes_no_sense_says_what_to_write(text: str, said: str) -> None:
    """The message names the nearest metric, the units or the form."""
    with pytest.raises(BadRequest, match=said):
        read_slo(text)


def test_a_budget_has_no_units() -> None:
    """Dollars an hour are written as a number."""
    with pytest.raises(BadRequest, match="takes no unit"):
        read_budget("usd_per_h<=200usd")
    with pytest.raises(BadRequest, match="did you mean usd_per_h"):
        read_budget("usd_per_hour<=200")


def test_layouts_are_powers_of_two_that_fill_the_hardware() -> None:
    """Eight H200 hold a dense model in 1, 2, 4 or 8 chips a replica, in FP8, which they multiply."""
    found = layouts_of(Asked(on=("h200x8",), model="llama-3.1-8b"), CATALOG, {})
    assert [(one.text, one.replicas, one.chips) for one in found] == [
        (f"h200x8/llama-3.1-8b:tp={tp},precision=fp8", (8 // tp,), 8) for tp in (1, 2, 4, 8)
    ]


def test_experts_are_cut_dealt_out_or_dealt_out_under_attention_apart() -> None:
    """A model of experts has three layouts on two chips."""
    found = layouts_of(Asked(on=("h200x2",), model="qwen3-30b"), CATALOG, {})
    said = [one.text.partition(":")[2].removesuffix(",precision=fp8") for one in found]
    assert said == ["tp=1", "tp=2", "tp=2,ep=2", "tp=1,dp=2,ep=2"]
    assert [one.chips for one in found] == [2, 2, 2, 2]
    assert [one.replicas for one in found] == [(2,), (1,), (1,), (1,)]


def test_a_bare_chip_comes_in_every_size_up_to_its_node() -> None:
    """`--on h200` is 1, 2, 4 and 8 of them; a filter leaves a maker out."""
    found = layouts_of(Asked(on=("h200", "m890x2"), model="llama-3.1-8b"), CATALOG, {})
    heads = dict.fromkeys(one.text.partition("/")[0] for one in found)
    assert list(heads) == ["h200", "h200x2", "h200x4", "h200x8", "m890x2"]
    only = Asked(on=("h200", "m890x2"), model="llama-3.1-8b", exclude=read_filter("vendor=nvidia"))
    assert {one.text.partition("/")[0] for one in layouts_of(only, CATALOG, {})} == {"m890x2"}


def test_what_does_not_fit_says_by_how_many_bytes() -> None:
    """Qwen3.5-397B in FP8 is 405 GB of weights; one H200 has 141 GB, a tenth of it left to the engine."""
    (one,) = layouts_of(Asked(on=("h200/qwen3.5-397b:tp=1,precision=fp8",), model=None), CATALOG, {})
    assert one.reason is not None
    assert "weights 405.0 GB" in one.reason
    assert "has 141.0 GB" in one.reason
    assert "bytes)" in one.reason


def test_a_chip_without_the_precision_is_out_with_the_reason() -> None:
    """The H200 does not multiply FP4."""
    (one,) = layouts_of(Asked(on=("h200/llama-3.1-8b:tp=1,precision=fp4",), model=None), CATALOG, {})
    assert one.reason is not None
    assert "does not compute in fp4" in one.reason


def test_the_floor_of_a_decode_is_its_bytes_over_the_bandwidth() -> None:
    """A token of Llama-3.1-8B in BF16 reads 15.0 GB, all but the table of words, at 4.8 TB/s: 3.1 ms."""
    deployment = parse_deployment("h200/llama-3.1-8b:tp=1", CATALOG)
    programs = parse_workload("synthetic:requests=4,input=16,output=64", rng_seed=0)
    (floor,) = floors_of(deployment, [programs])
    step_s = floor.figures["tpot_s.p50"]
    assert step_s == pytest.approx(0.95 * 15.0e9 / 4.8e12, rel=0.01)


def test_a_job_pays_for_the_fleet_until_most_of_the_work_is_done() -> None:
    """$16 for an hour; nine in ten tokens after half an hour, by nine jobs: $8 over 9 jobs."""
    one = candidate(H200, trial(60.0, 16.0))
    assert mean(one, MONEY) == pytest.approx(8.0 / 9.0)
    assert chip_hours(one) == pytest.approx(8 * 0.5 / 9)
    # 100 W idle are 360 kJ of the 1 MJ; the rest is work, shared by ten jobs; idle for 200 s a job.
    assert mean(one, JOULES) == pytest.approx(64_000 + 100 * 200)


def test_rents_of_all_chips_make_the_price_of_an_hour() -> None:
    """Eight chips at $2, and four at $1 to $3."""
    assert usd_per_h(candidate(H200, trial(60.0, 16.0))) == exactly(16.0)
    found = usd_per_h(candidate(M890, trial(60.0, 8.0)))
    assert found is not None
    assert (found.low, found.mid, found.high) == (4.0, 8.0, 12.0)


def test_the_confidence_of_three_seeds_is_students() -> None:
    """10, 20 and 30 s: 20 s, and 4.303 standard errors of 10/sqrt(3) to either side; not below zero."""
    one = candidate(H200, *(trial(seconds, 16.0) for seconds in (10.0, 20.0, 30.0)))
    between = confidence(one, TIME)
    assert mean(one, TIME) == 20.0
    assert between == pytest.approx((0.0, 20 + 4.303 * 10 / 3**0.5))
    assert confidence(candidate(H200, trial(10.0, 1.0)), TIME) is None


def test_a_range_is_carried_from_the_first_seed_to_the_mean() -> None:
    """Draws from half to twice the first seed's 10 s make 10 to 40 s of a mean of 20 s."""
    drawn = tuple(trial(seconds, 16.0) for seconds in [5.0] * 16 + [20.0] * 16)
    one = candidate(M890, trial(10.0, 16.0), trial(30.0, 16.0), drawn=drawn)
    found = spread(one, TIME)
    assert found is not None
    assert (found.low, found.mid, found.high) == (10.0, 20.0, 40.0)


def test_break_even_is_the_cheapest_jobs_price_over_chip_hours() -> None:
    """A job costs $8/9 on the H200; the M890s give it 4 x 0.5 h / 9: they may cost $4 a chip."""
    price = break_even(candidate(M890, trial(60.0, None)), candidate(H200, trial(60.0, 16.0)))
    assert price is not None
    assert price.mid == pytest.approx(4.0)


def test_a_choice_that_flips_in_the_ranges_is_not_stable() -> None:
    """The M890 is quicker at the mid and in 20 of 32 draws: a sentence says so, one what tells them apart."""
    drawn = tuple(trial(seconds, 8.0) for seconds in [50.0] * 20 + [70.0] * 12)
    found = [
        candidate(H200, trial(60.0, 16.0), drawn=(trial(60.0, 16.0),) * 32),
        candidate(M890, trial(50.0, 8.0), drawn=drawn),
    ]
    chosen = choose(found, TIME, (), (), 32)
    assert chosen is not None
    assert chosen.place == 1
    assert not chosen.stable
    assert "FLIPS" in chosen.stability
    assert chosen.wins == {1: 20, 0: 12}
    assert any("what tells them apart most is chips/zhenwu-m890" in sentence for sentence in chosen.flips)


def test_a_choice_that_never_flips_is_stable_and_names_the_price_that_would_flip_it() -> None:
    """Where money decides, each other hardware gets the rent at which it would be the choice."""
    found = [
        candidate(H200, trial(60.0, 16.0), drawn=(trial(60.0, 16.0),) * 32),
        candidate(M890, trial(60.0, 8.0), drawn=(trial(60.0, 8.0),) * 32),
    ]
    chosen = choose(found, MONEY, (), (), 32)
    assert chosen is not None
    assert (chosen.place, chosen.stable) == (1, True)
    assert any(H200 in sentence and "less than $1.00" in sentence for sentence in chosen.flips)


def test_without_a_drawn_guess_no_choice_is_called_stable() -> None:
    """`--draws 0` says nothing of guesses, so the plan does not either."""
    chosen = choose([candidate(M890, trial(60.0, 8.0))], TIME, (), (), 0)
    assert chosen is not None
    assert not chosen.stable
    assert "no guess was drawn" in chosen.stability


def test_of_equals_the_first_is_chosen() -> None:
    """What brings less than half a per cent is not recommended over what comes first."""
    found = [candidate(H200, trial(60.0, 16.0)), candidate(H200, trial(59.9, 16.0))]
    chosen = choose(found, TIME, (), (), 0)
    assert chosen is not None
    assert chosen.place == 0


def test_nothing_feasible_names_what_comes_closest() -> None:
    """Of 700 s and 900 s against 600 s the first is closest; a job lost counts against a candidate."""
    targets = read_slo("jct_mean<=600s")
    found = judged([candidate(H200, trial(900.0, 16.0)), candidate(M890, trial(700.0, None))], targets, ())
    assert [one.reason for one in found] == [
        "misses jct_mean<=600s: jct_mean is 900.0 s",
        "misses jct_mean<=600s: jct_mean is 700.0 s",
    ]
    assert choose(found, TIME, targets, (), 0) is None
    assert closest(found, targets) == 1
    assert on_front(found) == [False, False]


def test_what_loses_jobs_that_others_finish_is_out() -> None:
    """Times of five jobs cannot be compared with times of ten."""
    half = trial(10.0, 16.0)
    half = replace(half, result=replace(half.result, programs=5, outcomes={"too_long": 7}))
    found = judged([candidate(H200, half), candidate(M890, trial(60.0, 8.0))], (), ())
    assert found[0].reason == "only 5 of 10 jobs end whole: 7 calls too long"
    assert found[1].reason is None


def test_a_budget_needs_a_price() -> None:
    """What has no price is neither dropped nor chosen under a budget in dollars."""
    (plain,) = layouts_of(Asked(on=(M890,), model=None), CATALOG, {})
    unpriced = Candidate(layout=plain, choice=STOCK, seeds=(trial(10.0, None),))
    found = judged([candidate(H200, trial(60.0, 16.0)), unpriced], (), read_budget("usd_per_h<=20"))
    chosen = choose(found, TIME, (), read_budget("usd_per_h<=20"), 0)
    assert found[1].reason is None
    assert chosen is not None
    assert chosen.place == 0
    assert "1 others" in chosen.why


def test_a_buyers_figures_go_before_the_catalogues(tmp_path: Path) -> None:
    """4.4 TB/s instead of the guess, three microseconds on the links; both say that they are the buyer's."""
    file = tmp_path / "mine.toml"
    file.write_text(
        "[chips.m890]\nmemory_bandwidth_tb_per_s = 4.4\npower_w = { low = 550, mid = 600, high = 650 }\n"
        "[racks.al128.links.icn]\nsoftware_us = 3\n"
    )
    chip, rack = read_facts(file, CATALOG)
    bandwidth = chip.figure("memory_bandwidth_bytes_per_s")
    assert (bandwidth.low, bandwidth.high, bandwidth.guessed) == (4.4e12, 4.4e12, False)
    assert (chip.figure("power_w").low, chip.figure("power_w").guessed) == (550.0, True)
    assert rack.parts["icn"].figure("software_s").mid == 3e-6
    assert bandwidth.source == "yours (mine.toml)"


@pytest.mark.parametrize(
    "text, said",
    [
        ("[chips.m890]\nmemry_bandwidth_tb_per_s = 4", "did you mean memory_bandwidth_tb_per_s"),
        ("[chips.m890]\nmemory_bandwidth_tb_per_s = -4", "is negative"),
        ("[chips.m890]\npower_w = { low = 9, mid = 5, high = 7 }", "not in order"),
        ("[racks.al128.links.nvlink]\nsoftware_us = 3", "there is none; it has icn"),
        ("[gpus.m890]\npower_w = 3", r"write \[chips.NAME\]"),
        ("power", "cannot be read"),
    ],
)
def test_a_buyers_file_with_a_mistake_says_where(tmp_path: Path, text: str, said: str) -> None:
    """File, key and reason, as for the catalogue itself."""
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(BadRequest, match=said):
        read_facts(file, CATALOG)


def test_the_price_of_power_is_what_joules_cost() -> None:
    """84 kJ at $0.36 a kWh and a PUE of the site are 0.84 cents times that PUE."""
    site = read_power_price("0.36", CATALOG)
    one = candidate(H200, trial(60.0, 16.0))
    electricity = replace(
        one.layout.deployments[0].electricity, usd_per_kwh=site.figure("electricity_usd_per_kwh")
    )  # type: ignore[type-var]
    layout: Layout = replace(
        one.layout, deployments=(replace(one.layout.deployments[0], electricity=electricity),)
    )
    assert electricity_usd_per_job(replace(one, layout=layout)) == pytest.approx(
        84_000 / 3.6e6 * 0.36 * CATALOG.site().figure("pue_ratio").mid
    )
    with pytest.raises(BadRequest, match="dollars a kilowatt hour"):
        read_power_price("free", CATALOG)


def test_scaling_a_number_scales_what_rests_on_it() -> None:
    """Half the bandwidth is 2.4 TB/s; twice the KV of a token is 4 bytes a number; links follow the rack."""
    deployment = parse_deployment("h200x8/llama-3.1-8b:tp=8", CATALOG)
    slow = varied(deployment, Scales((("chip.memory_bytes_per_s", 0.5), ("model.kv_bytes_per_token", 2.0))))
    assert slow.instance.hardware.mid.chip.memory_bytes_per_s == 2.4e12
    assert slow.precision.kv_bytes == 2 * PRECISIONS["bf16"].kv_bytes
    near = varied(deployment, Scales((("rack.link", 2.0),))).instance.hardware.mid.rack
    plain = deployment.instance.hardware.mid.rack
    assert near is not None
    assert plain is not None
    assert near.scale_up.bytes_per_s == 2 * plain.scale_up.bytes_per_s
    assert varied(deployment, Scales()) is deployment


@pytest.mark.parametrize(
    "text, said",
    [
        ("chip.memory_bandwidth=0.5..2", "did you mean chip.memory_bytes"),
        ("rack.link=2", "LOW..HIGH"),
        ("rack.link=2..0.5", "LOW..HIGH"),
        ("rack.link=0..2", "LOW..HIGH"),
    ],
)
def test_a_number_to_vary_is_named_with_a_range(text: str, said: str) -> None:
    """The nearest name, or the form."""
    with pytest.raises(BadRequest, match=said):
        read_vary(text)


def test_advice_names_what_brings_most_and_what_does_not_matter() -> None:
    """Twice the bandwidth makes calls 30 % shorter, half the KV 10 %, twice the link a thousandth."""

    def effect(name: str, low: float, high: float) -> Effect:
        ends = [{CALL: ratio, TIME: 1 + (ratio - 1) / 10} for ratio in (low, high)]
        vary = Vary(name=name, low=0.5, high=2.0)
        return Effect(vary=vary, low=ends[0], high=ends[1], elasticities={})

    link = effect("rack.link", 1.001, 0.999)
    kv = effect("model.kv_bytes_per_token", 0.9, 9.0)
    said = advice([link, kv, effect("chip.memory_bytes_per_s", 2.0, 0.7)])
    assert "2 times the chip's memory bandwidth helps first" in said
    assert "of a call by -30 % and of a job by -3.0 %" in said
    assert "then 0.5 times the model's KV for each token (-10 %)" in said
    assert "bandwidth between chips hardly matter" in said
    assert "none of these numbers" in advice([link])
