"""The page of one run: `perdure simulate --html`."""

from collections.abc import Iterator, Mapping
from typing import Any

from perdure.twin.report_endings import outcome_text
from perdure.twin.report_figures import Report, report_of
from perdure.twin.report_html import (
    Cell,
    Column,
    Html,
    definitions,
    figure_of,
    folded,
    join,
    number,
    page,
    paragraph,
    section,
    small,
    table,
    tiles,
)
from perdure.twin.report_pictures import distributions, hit_table, level_table, over_time, time_went
from perdure.twin.result import Result
from perdure.twin.run import Run
from perdure.twin.run_words import (
    READING,
    TIMES,
    duration,
    endings_text,
    energy_text,
    guesses_of,
    guesses_text,
    money_text,
    policies_text,
    share_text,
)
from perdure.units import bytes_text

SUMMARY = ("mean", "p50", "p90", "p95", "p99")


def run_page(run: Run, facts: Mapping[str, Any]) -> str:
    """One HTML file; `facts` are those of the JSON: what was run, how, and how long it took."""
    report = report_of(run.world, run.layout.programs, run.layout.pools)
    result = run.result
    return page(
        f"{facts['workload']} on {facts['on']}",
        _what_was_run(run, facts),
        paragraph(endings_text(report.endings, result)),
        tiles(_tiles(result)),
        section("How long it took", _times(result), *_guesses(result, facts)),
        section("Where each job's time went", *time_went(report.groups)),
        section("Distributions", distributions(run.world)),
        section("Over time", *over_time(run)),
        section("Caches", *_caches(report, result)),
        section("Calls that did not end as asked", *_outcomes(run)),
        section("Pools", *_pools(report)),
        section("Tenants", *_tenants(run, report)),
        section("Figures used", *_provenance(result)),
        section("How to read this", paragraph(READING)),
    )


def _what_was_run(run: Run, facts: Mapping[str, Any]) -> str:
    chips = sum(pool.chips * pool.replicas for pool in run.layout.pools)
    replicas = sum(pool.replicas for pool in run.layout.pools)
    listed = definitions(
        [
            ("workload", str(facts["workload"])),
            ("deployment", f"{facts['on']}: {replicas:,} replicas on {chips:,} chips"),
            ("policies", policies_text(facts)),
            ("seed", str(facts["seed"])),
            ("simulated", join(_value("simulated_s", run.result.simulated_s, duration))),
        ]
    )
    hypothetical = facts["hypothetical"]
    if not hypothetical:
        return listed
    names = ", ".join(hypothetical)
    warning = (
        f"Hypothetical: a stock vLLM cannot be told to do what {names} asks; this is what it would bring."
    )
    return listed + paragraph(warning, kind="warn")


def _tiles(result: Result) -> Iterator[tuple[str, Cell, Cell]]:
    for name, part, title in (
        ("jct_s", "p50", "a job, median"),
        ("jct_s", "p95", "a job, 95 of 100"),
        ("ttft_s", "p50", "to the first token, median"),
        ("ttft_s", "p95", "to the first token, 95 of 100"),
        ("tpot_s", "p50", "between tokens, median"),
    ):
        value: float | None = getattr(result, name)[part]
        yield title, _value(f"{name}.{part}", value, duration), _ends(result, f"{name}.{part}", duration)
    yield (
        "prompt tokens found in caches",
        _value("prefix_hit_rate", result.prefix_hit_rate, share_text),
        _ends(result, "prefix_hit_rate", share_text),
    )
    yield "chips at work", _value("busy_share", result.busy_share, share_text), "of the time"
    yield (
        "tokens generated",
        _value("output_tokens", result.output_tokens, _count),
        _ends(result, "output_tokens", _count),
    )
    yield (
        "KV at most",
        _value("kv_peak_bytes", result.kv_peak_bytes, bytes_text),
        join("of ", _value("kv_capacity_bytes", result.kv_capacity_bytes, bytes_text)),
    )
    yield (
        "energy of the chips",
        _value("energy_j", result.energy_j, energy_text),
        _ends(result, "energy_j", energy_text),
    )
    rent = _ends(result, "money_usd", money_text)
    if result.money_usd is None:
        rent = Html("no price known: --price sets one")
    yield "rent of the chips", _value("money_usd", result.money_usd, money_text), rent


def _times(result: Result) -> str:
    rows: list[list[Cell]] = []
    for name, title in TIMES:
        values: Mapping[str, float | None] = getattr(result, name)
        rows.append(
            [
                title,
                *(
                    join(
                        _value(f"{name}.{part}", values[part], duration),
                        _ends(result, f"{name}.{part}", duration),
                    )
                    for part in SUMMARY
                ),
            ]
        )
    columns = [Column(title=""), *(number(part) for part in SUMMARY)]
    return table(columns, rows, about="times, mean and quantiles")


def _guesses(result: Result, facts: Mapping[str, Any]) -> Iterator[str]:
    text = guesses_text(result, facts)
    if text:
        yield paragraph(text, kind="warn")


def _caches(report: Report, result: Result) -> Iterator[str]:
    found = join(
        "Of ",
        _value("prompt_tokens", result.prompt_tokens, _count),
        " prompt tokens, ",
        _value("prefix_hit_rate", result.prefix_hit_rate, share_text),
        " were found in a cache, ",
        _value("kv_loaded_tokens", result.loaded_tokens, _count),
        " of them loaded from below HBM. ",
        _value("prefill_tokens_computed", result.prefill_tokens_computed, _count),
        " were computed (those computed again after a preemption, and of calls cut off, among them).",
    )
    yield paragraph(found)
    yield from hit_table(report.hits)
    yield from level_table(report.holdings)


def _outcomes(run: Run) -> Iterator[str]:
    outcomes = run.result.outcomes
    if outcomes:
        columns = [Column(title="ended"), number("calls"), Column(title="which means", kind="long")]
        rows = [
            (
                name.replace("_", " "),
                figure_of(f"outcomes.{name}", count, f"{count:,}"),
                outcome_text(name, run.layout.pools),
            )
            for name, count in outcomes.items()
        ]
        yield table(columns, rows, about="calls that did not end as asked")
    if run.result.deadlocks:
        yield paragraph(
            join(
                _value("deadlocks", run.result.deadlocks, _count),
                " calls ended because nothing ran on their replica and they had no room all the same.",
            )
        )


def _pools(report: Report) -> Iterator[str]:
    heads = ("replicas", "chips each", "calls", "tokens out", "hit rate", "first token", "between tokens")
    columns = [Column(title="pool"), *(number(one) for one in (*heads, "KV at most", "preempted", "at work"))]
    rows: list[list[Cell]] = []
    for place, pool in enumerate(report.pools):

        def cell(name: str, text: Any, here: int = place, row: Any = pool) -> Html:
            return _value(f"pools.{here}.{name}", getattr(row, name), text)

        rows.append(
            [
                join(pool.name, small(pool.hardware)),
                cell("replicas", _count),
                cell("chips", _count),
                cell("calls", _count),
                cell("output_tokens", _count),
                cell("prefix_hit_rate", share_text),
                join(cell("ttft_s_p50", duration), small(join("95 of 100: ", cell("ttft_s_p95", duration)))),
                join(cell("tpot_s_p50", duration), small(join("95 of 100: ", cell("tpot_s_p95", duration)))),
                join(
                    cell("kv_peak_bytes", bytes_text),
                    small(join("of ", cell("kv_capacity_bytes", bytes_text))),
                ),
                cell("preemptions", _count),
                cell("busy_share", share_text),
            ]
        )
    yield table(columns, rows, about="each pool")


def _tenants(run: Run, report: Report) -> Iterator[str]:
    tenants = len(run.layout.programs.tenants)
    if tenants < 2:
        return
    heads = ("whole", "programs", "calls", "tokens out", "a job, median", "95 of 100", "first token, median")
    columns = [Column(title="tenant"), *(number(one) for one in (*heads, "95 of 100"))]
    rows: list[list[Cell]] = []
    for place, tenant in enumerate(report.tenants):
        texts = (
            ("programs", _count),
            ("programs_all", _count),
            ("calls", _count),
            ("output_tokens", _count),
            ("jct_s_p50", duration),
            ("jct_s_p95", duration),
            ("ttft_s_p50", duration),
            ("ttft_s_p95", duration),
        )
        cells = [_value(f"tenants.{place}.{name}", getattr(tenant, name), text) for name, text in texts]
        rows.append([tenant.name, *cells])
    if len(rows) < tenants:
        yield paragraph(f"The {len(rows)} with the most calls, of {tenants:,}.")
    yield table(columns, rows, about="each tenant")


def _provenance(result: Result) -> Iterator[str]:
    columns = [Column(title="figure"), Column(title="status"), Column(title="source", kind="long")]
    guessed = guesses_of(result)
    others = [one for one in result.provenance if one.status != "estimate"]
    for ones, title in (
        (guessed, f"{len(guessed)} guesses"),
        (others, f"{len(others)} figures that are published, reported or measured"),
    ):
        rows = [
            (one.what, Html(f'<span class="status {one.status}">{one.status}</span>'), one.source)
            for one in ones
        ]
        if rows:
            shown = table(columns, rows, about=title)
            yield paragraph(f"{title}:") + shown if ones is guessed else folded(title, shown)


def _value(name: str, value: float | None, text: Any) -> Html:
    return Html("-") if value is None else figure_of(name, value, text(value))


def _ends(result: Result, name: str, text: Any) -> Html:
    """The range of a figure that rests on guesses."""
    ends = result.ranges.get(name)
    if ends is None:
        return Html("")
    low, high = (
        figure_of(f"ranges.{name}.{side}", value, text(value))
        for side, value in zip(("low", "high"), ends, strict=True)
    )
    return small(join(low, " to ", high))


def _count(value: float) -> str:
    return f"{value:,.0f}"
