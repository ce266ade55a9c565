"""What the race with other simulators makes of their reports, on short reports written by hand."""

import io
import json
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "bench"))

from twin_peers import INSTALL, aisimulate, read_aisimulate, read_perdure, sr_sim
from twin_peers_cases import CASES, Asked, agents
from twin_peers_command import Ended
from twin_peers_race import Row, attempt, growth_of, race
from twin_peers_score import Target, medians, times_faster, with_rates
from twin_peers_weka import write_declared
from twin_vs_peers import main

REPORT = {
    "completed_requests": 9,
    "num_requests": 10,
    "wall_time_ms": 2500.0,
    "duration_ms": 60_000.0,
    "prefix_cache_reused_ratio": 0.25,
    "mean_ttft_ms": 155.0,
    "mean_tpot_ms": 30.0,
}


def asked(folder: Path, **programs: str) -> Asked:
    """Nothing is installed but `programs`, and nothing is shared."""
    none = dict.fromkeys(("perdure", "aisimulate", "dynamo", "sr_sim"), "no-such-program")
    return Asked(**{**none, **programs}, shared=folder / "shared", folder=folder)


def ended(output: str) -> Ended:
    """A command that printed `output`."""
    return Ended(wall_s=1.0, cpu_s=1.0, peak_rss_bytes=1, exit_code=0, output=output, errors="")


def test_both_stacks_of_aisimulate_are_read_alike() -> None:
    """Milliseconds become seconds, and completed requests count, wherever the summary lies."""
    expected = {
        "calls": 9.0,
        "asked": 10.0,
        "kernel_s": 2.5,
        "simulated_s": 60.0,
        "prefix_hit_rate": 0.25,
        "ttft_mean_s": 0.155,
        "tpot_mean_s": 0.03,
    }
    assert read_aisimulate(json.dumps(REPORT)) == expected
    assert read_aisimulate(json.dumps({"summary": REPORT, "planner": None})) == expected


def test_our_report_is_read_by_the_names_of_the_contract() -> None:
    """Turns are calls, and what is missing or null is left out rather than taken for zero."""
    said = {"turns": 12, "requests": 3, "kernel_s": 0.5, "ttft_s": {"mean": 0.2}, "prefix_hit_rate": None}
    assert read_perdure(ended(json.dumps(said))) == {"calls": 12.0, "kernel_s": 0.5, "ttft_mean_s": 0.2}


def test_medians_are_of_what_all_runs_have() -> None:
    """The middle of three runs, figure by figure; a figure that one run lacks has none."""
    runs = [{"wall_s": 3.0, "kernel_s": 1.0}, {"wall_s": 1.0}, {"wall_s": 2.0, "kernel_s": 9.0}]
    assert medians(runs) == {"wall_s": 2.0}
    assert medians([]) == {}


def test_rates_and_ratios_divide_the_right_way_round() -> None:
    """10,000 calls in 0.5 s are 20,000 a second; a peer that takes 3 s to our 0.6 s is 5 times slower."""
    assert with_rates({"calls": 10_000, "kernel_s": 0.5})["calls_per_kernel_s"] == 20_000
    assert times_faster({"wall_s": 0.6, "cpu_s": 1.0}, {"wall_s": 3.0}, ("wall_s", "cpu_s")) == {
        "wall_s": pytest.approx(5.0)
    }


def test_a_target_is_met_on_its_own_side_and_not_without_a_figure() -> None:
    """At most and at least include the limit; a figure that was not measured meets nothing."""
    most = Target(figure="wall_s", side="at most", limit=0.6)
    least = Target(figure="calls_per_kernel_s", side="at least", limit=20_000)
    assert (most.met({"wall_s": 0.6}), most.met({"wall_s": 0.61}), most.met({})) == (True, False, None)
    assert least.met({"calls_per_kernel_s": 20_000}) is True
    assert least.met({"calls_per_kernel_s": 19_999}) is False


def test_what_is_not_installed_says_how_to_install_it(tmp_path: Path) -> None:
    """A peer that is not there is a row with the pip line, and is never run."""
    for contender, how in (
        (aisimulate("no-such-program", tmp_path, {}), INSTALL["aisimulate"]),
        (aisimulate("no-such-program", tmp_path, {}, stack="dynamo"), INSTALL["dynamo"]),
        (
            sr_sim("no-such-program", tmp_path, requests=1, prompt_tokens=1, output_tokens=1, rate=1.0),
            INSTALL["sr_sim"],
        ),
    ):
        assert contender.words == ()
        assert contender.missing == how
        assert how.startswith("pip install ")


def test_a_case_without_its_trace_says_which_is_missing(tmp_path: Path) -> None:
    """Without the shared folder a case has rows with the reason, and nothing runs."""
    case = next(one for one in CASES if one.letter == "c")
    said: list[str] = []
    rows = race(case, asked(tmp_path), repeats=1, limit_s=1.0, say=said.append)
    assert {row.failure for row in rows} == {f"--shared has no {case.needs[0]}"}
    assert said == []


def test_a_command_that_fails_is_run_once_and_quoted(tmp_path: Path) -> None:
    """Ours that ends with an error is not repeated, and the row holds what it said."""
    program = tmp_path / "perdure"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nprint('no such model', file=sys.stderr)\nsys.exit(2)\n"
    )
    program.chmod(0o700)
    case = next(one for one in CASES if one.letter == "a")
    said: list[str] = []
    rows = race(case, asked(tmp_path, perdure=str(program)), repeats=3, limit_s=60.0, say=said.append)
    assert (rows[0].failure, rows[0].runs) == ("exit 2: no such model", 0)
    assert len(said) == 2


def test_ours_and_a_peer_take_turns(tmp_path: Path) -> None:
    """Ours runs once before, then the two alternate; medians, ratio and target come out."""
    ours = tmp_path / "perdure"
    ours.write_text(f"#!{sys.executable}\nprint('{json.dumps({'turns': 4, 'kernel_s': 0.5})}')\n")
    peer = tmp_path / "vllm-sr-sim"
    peer.write_text(
        f"#!{sys.executable}\nimport sys\nout = sys.argv[sys.argv.index('--out') + 1]\n"
        "open(out, 'w').write('{\"total_completed\": 4}')\n"
    )
    for program in (ours, peer):
        program.chmod(0o700)
    case = next(one for one in CASES if one.letter == "a")
    said: list[str] = []
    programs = asked(tmp_path, perdure=str(ours), sr_sim=str(peer))
    rows = race(case, programs, repeats=2, limit_s=60.0, say=said.append)
    assert [line.partition(":")[0] for line in said] == [
        *("Perdure", "Perdure", "vllm-sr-sim"),
        *("Perdure", "vllm-sr-sim") * 2,
    ]
    assert (rows[0].runs, rows[0].figures["calls_per_kernel_s"], rows[2].figures["calls"]) == (2, 8.0, 4.0)
    assert rows[0].first_wall_s is not None
    assert rows[2].times_faster.keys() == {"wall_s", "cpu_s", "peak_rss_bytes"}


def test_a_simulator_that_drops_calls_has_no_time(tmp_path: Path) -> None:
    """Nine of ten calls ended is a failure with both numbers, however fast it was."""
    output = tmp_path / "prediction"
    output.mkdir()
    (output / "prediction.json").write_text(json.dumps(REPORT))
    peer = replace(aisimulate(sys.executable, tmp_path, {}), words=(sys.executable, "-c", "pass"))
    assert attempt(peer, 60.0) == ({}, "ended only 9 of 10 calls: no equal race")


def test_the_command_prints_rows_verdicts_and_growth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a table and as JSON: what was measured, which target it meets, what is not installed."""
    ours = tmp_path / "perdure"
    ours.write_text(
        f"#!{sys.executable}\nimport json, re, sys\nturns = int(re.search('(?:requests|programs)=(.+?),', "
        "' '.join(sys.argv)).group(1))\nprint(json.dumps({'turns': turns, 'kernel_s': turns / 1e6}))\n"
    )
    ours.chmod(0o700)
    words = ["--only", "b", "f", "--repeats", "1", "--programs", "1000", "2000", "--perdure", str(ours)]
    peers = ["--aisimulate", "none-1", "--sr-sim", "none-2", "--folder", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["twin_vs_peers.py", *words, *peers])
    main()
    table = capsys.readouterr().out
    assert "target kernel s at most 0.200: met (0.100)" in table
    assert f"not installed: {INSTALL['aisimulate']}" in table
    assert "kernel s ~ turns^1.000; from size to size 1.00: linear" in table
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--json"])
    main()
    found = json.loads(capsys.readouterr().out)
    assert [case["case"] for case in found["cases"]] == ["b", "f"]
    kernel = {"figure": "kernel_s", "side": "at most", "limit": 0.2, "ours": 0.1, "met": True}
    assert found["cases"][0]["targets"][1] == kernel
    assert found["cases"][1]["growth"]["kernel_s"]["exponent"] == pytest.approx(1.0)


def test_growth_is_fitted_to_the_sizes_that_ran() -> None:
    """Three sizes at a second for each thousand turns are linear; a size that failed is left out."""
    sizes = [
        Row(contender="Perdure", figures={"calls": turns, "kernel_s": turns / 1000}, times_faster={})
        for turns in (10_000.0, 100_000.0, 1_000_000.0)
    ]
    failed = Row(contender="Perdure", failure="exit 1", figures={}, times_faster={})
    fit = growth_of([*sizes, failed], "kernel_s")
    assert fit is not None
    assert fit.exponent == pytest.approx(1.0)
    assert (len(fit.steps), fit.linear) == (2, True)
    assert growth_of([failed], "kernel_s") is None


def test_programs_come_at_one_rate() -> None:
    """10,000 programs take 35 hours, and half of them half as long."""
    assert agents(10_000) == "agents:programs=10000,hours=35,seed=1"
    assert agents(5_000) == "agents:programs=5000,hours=17.5,seed=1"


def test_a_session_that_uses_an_undeclared_model_is_repaired(tmp_path: Path) -> None:
    """The models of sub-agents are declared too, and only sessions that lacked one are counted."""
    inner = {"model": "small", "in": 1}
    sessions = {
        "one.json": {"models": ["big"], "requests": [{"model": "big"}, {"requests": [inner]}]},
        "two.json": {"models": ["big"], "requests": [{"model": "big"}]},
    }
    archive = tmp_path / "sessions.tar.xz"
    with tarfile.open(archive, "w:xz") as packed:
        for name, session in sessions.items():
            content = json.dumps(session).encode()
            member = tarfile.TarInfo(f"folder/{name}")
            member.size = len(content)
            packed.addfile(member, io.BytesIO(content))
    assert write_declared(archive, tmp_path / "out") == 1
    written = json.loads((tmp_path / "out" / "one.json").read_text())
    assert written == {**sessions["one.json"], "models": ["big", "small"]}
    assert json.loads((tmp_path / "out" / "two.json").read_text()) == sessions["two.json"]
