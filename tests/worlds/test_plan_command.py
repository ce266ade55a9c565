"""`perdure plan` from end to end: tables, JSON, CSV, bad input, and Ctrl-C in the middle."""

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from perdure import compiling
from perdure.cli.main import main
from perdure.cli.plan_ask import BUILT_IN_ON

WORKLOAD = "synthetic:requests=40,input=900,output=60,turns=2,gap=0.5,concurrency=8"
SMALL = ("--workload", WORKLOAD, "--policy", "stock", "--draws", "0", "--seeds", "1")
ON = ("--on", "h200/smollm2-135m", "--on", "m890/smollm2-135m")
CONTRACT = {
    *("requests", "turns", "programs", "output_tokens", "simulated_s", "jct_s", "ttft_s", "tpot_s"),
    *("prefix_hit_rate", "prefill_tokens_computed", "kv_peak_bytes", "energy_j", "money_usd"),
    *("provenance", "seed", "ranges", "kernel_s", "feasible", "reason", "pareto"),
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One home for all plans here, so that each pool is made once, and nothing is compiled twice."""
    home = tmp_path_factory.mktemp("plans")
    (home / "cache").mkdir()
    (home / "cache" / "compiled").symlink_to(compiling.FOLDER.parent)
    return home


@pytest.fixture(autouse=True)
def shared_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERDURE_HOME", str(home))


def planned(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    """What `perdure plan WORDS` prints; where it fails, what it complains of."""
    assert main(["plan", *words]) == code
    output = capsys.readouterr()
    return output.err if code else output.out


def planned_json(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    return json.loads(planned(capsys, *words, "--json"))


def one_chip(*more: str) -> tuple[str, ...]:
    return (*SMALL, "--on", "h200/smollm2-135m:tp=1", "--on", "m890/smollm2-135m:tp=1", *more)


def test_json_has_every_candidate_with_the_figures_of_simulate(capsys: pytest.CaptureFixture[str]) -> None:
    """Simulated or dropped, a candidate has the same keys; the choice says whether it is stable."""
    answer = planned_json(capsys, *one_chip("--on", "h200/qwen3.5-397b:tp=1"))
    assert len(answer["candidates"]) == 3
    for one in answer["candidates"]:
        assert one.keys() >= CONTRACT
        assert one["feasible"] == (one["reason"] is None)
    dropped = answer["candidates"][2]
    assert "bytes)" in dropped["reason"]
    assert dropped["jct_s"] == {}
    assert not dropped["pareto"]
    assert any(one["pareto"] for one in answer["candidates"])
    assert {"candidate", "stable", "stability", "would_flip"} <= answer["choice"].keys()
    assert answer["complete"] is True


def test_the_figures_are_those_of_simulate(capsys: pytest.CaptureFixture[str]) -> None:
    """A candidate's figures are what `perdure simulate` prints for the same words."""
    answer = planned_json(capsys, *one_chip())
    alone = ("--workload", WORKLOAD, "--on", answer["candidates"][1]["on"], "--draws", "0", "--json")
    assert main(["simulate", *alone]) == 0
    simulated = json.loads(capsys.readouterr().out)
    for name in ("jct_s", "ttft_s", "tpot_s", "energy_j", "prefill_tokens_computed", "output_tokens"):
        assert answer["candidates"][1][name] == simulated[name], name


def test_a_guessed_chip_is_drawn_and_the_choice_says_how_sure_it_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With draws the M890 has ranges, and so has its break-even price; the same plan twice is the same."""
    words = one_chip("--draws", "32", "--seeds", "2", "--slo", "ttft_p95<=60s")
    first, second = planned_json(capsys, *words), planned_json(capsys, *words)
    m890 = first["candidates"][1]
    assert m890["drawn"]
    assert m890["ranges"]["jct_s.mean"]["low"] < m890["ranges"]["jct_s.mean"]["high"]
    assert m890["break_even_usd_per_chip_h"]["low"] < m890["break_even_usd_per_chip_h"]["high"]
    assert m890["usd_per_job"] is None
    assert set(m890["confidence_95"]) >= {"jct_s.mean"}
    assert first["choice"]["on"].startswith("h200")
    assert any(
        "would be the choice with chips at less than $" in line for line in first["choice"]["would_flip"]
    )
    for answer in (first, second):
        del answer["wall_s"]
        for one in answer["candidates"]:
            del one["kernel_s"]
    assert first == second


def test_the_table_names_choice_price_and_reasons(capsys: pytest.CaptureFixture[str]) -> None:
    """A person sees the choice, what speaks against the others, and what a chip without a price may cost."""
    text = planned(capsys, *one_chip("--goal", "money", "--on", "h200/qwen3.5-397b:tp=1"))
    assert "choice: h200/smollm2-135m:tp=1" in text
    assert "qwen3.5-397b:tp=1,precision=fp8 stock: does not fit: a chip needs" in text
    assert "no price is known of m890/smollm2-135m" in text
    assert "NOT stable: no guess was drawn" in text


def test_csv_has_a_line_for_each_candidate(capsys: pytest.CaptureFixture[str]) -> None:
    """A spreadsheet gets every candidate, and which one is chosen."""
    rows = list(csv.DictReader(io.StringIO(planned(capsys, *one_chip(), "--csv"))))
    assert len(rows) == 2
    assert sorted(row["chosen"] for row in rows) == ["False", "True"]
    assert all(float(row["jct_s_mean"]) > 0 for row in rows)


def test_explain_says_by_how_much_a_candidate_lost(capsys: pytest.CaptureFixture[str]) -> None:
    """By number or by words of its name; an unknown one is told which there are."""
    by_name = planned(capsys, *one_chip(), "--explain", "m890 stock")
    assert by_name.startswith("m890/smollm2-135m:tp=1,precision=fp8 stock\n")
    assert re.search(r"job time: .* times that of h200|is the choice", by_name)
    assert planned(capsys, *one_chip(), "--explain", "1") == by_name
    assert "no candidate is called" in planned(capsys, *one_chip(), "--explain", "b200", code=2)


@pytest.mark.parametrize(
    "words, said",
    [
        (("--slo", "jct_p59<=600s"), "did you mean jct_p"),
        (("--budget", "usd_per_hour<=2"), "did you mean usd_per_h"),
        (("--goal", "money", "--seeds", "11"), "from 1 to 10"),
        (("--draws", "7"), "0, or from 32"),
        (("--vary", "chip.bandwidth=0.5..2"), "it is one of"),
        (("--only", "maker=nvidia"), "write one of vendor"),
        (("--only", "vendor=nobody"), "leave nothing to try"),
        (("--policy", "agent"), "--hypothetical"),
        (("--policy", "stok"), "stock"),
        (("--fleet", "0"), "from 1 to"),
        (("--facts", "nowhere.toml"), "cannot be read"),
        (("--agents", "4"), "leave it or --workload out"),
        (("--price", "m890=cheap"), "CHIP=LOW..HIGH"),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_to_write(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    """Exit code 2, and a sentence that says what to do; nothing is simulated first."""
    assert said in planned(capsys, *one_chip(), *words, code=2)


def test_hardware_without_a_model_asks_for_one(capsys: pytest.CaptureFixture[str]) -> None:
    """`--on h200x8` alone does not say what is served."""
    assert "--model" in planned(capsys, "--on", "h200x8", "--agents", "4", code=2)


def test_no_feasible_candidate_says_what_comes_closest(capsys: pytest.CaptureFixture[str]) -> None:
    """A target between the roofline and what is reached leaves nothing, and the nearest with its figure."""
    text = planned(capsys, *one_chip("--slo", "e2e_mean<=2ms"))
    assert "choice: none" in text
    answer = planned_json(capsys, *one_chip("--slo", "e2e_p99<=25ms"))
    assert answer["choice"] is None
    assert not any(one["feasible"] or one["pareto"] for one in answer["candidates"])
    assert "closest is" in planned(capsys, *one_chip("--slo", "e2e_p99<=25ms"))


def test_an_impossible_budget_drops_what_has_a_price(capsys: pytest.CaptureFixture[str]) -> None:
    """A cent an hour buys no H200; of the M890 no price is known, so it is not chosen either."""
    answer = planned_json(capsys, *one_chip("--budget", "usd_per_h<=0.01"))
    h200, m890 = answer["candidates"]
    assert "over the budget: usd_per_h is $" in h200["reason"]
    assert m890["reason"] is None
    assert answer["choice"] is None


def test_vary_prints_elasticities_and_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    """More bandwidth never lengthens a call; more KV for each token never shortens one."""
    words = ("--vary", "chip.memory_bytes_per_s=0.5..2", "--vary", "model.kv_bytes_per_token=0.5..2")
    codesign = planned_json(capsys, *one_chip("--goal", "time"), *words)["codesign"]
    bandwidth, kv = codesign["parameters"]
    assert bandwidth["elasticities"]["e2e_s.mean"] < 0
    assert kv["elasticities"]["e2e_s.mean"] >= 0
    text = planned(capsys, *one_chip("--goal", "time"), *words)
    assert "per cent for one per cent more" in text
    assert codesign["advice"] in text


def test_the_page_needs_no_network_and_has_every_candidate(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """One file: choice, candidates with exact values, reasons, a tornado, sources; nothing is fetched."""
    page = tmp_path / "plan.html"
    words = one_chip("--on", "h200/qwen3.5-397b:tp=1", "--vary", "chip.memory_bytes_per_s=0.5..2")
    text = planned(capsys, *words, "--html", str(page))
    html = page.read_text()
    assert "choice: " in text
    assert not re.search(r"(src|href)=|@import|url\(|<script", html)
    assert html.count('data-figure="jct_s.mean"') == 2
    assert "does not fit: a chip needs" in html
    assert "the chip&#x27;s memory bandwidth x2:" in html
    assert "undisclosed; 144 GB fits 6 stacks" in html
    assert "cannot be written" in planned(capsys, *one_chip(), "--html", str(tmp_path / "no" / "p"), code=1)


def test_own_figures_are_marked_and_change_the_outcome(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """An M890 of the buyer's with ten times the bandwidth is quicker, and its figure says whose it is."""
    file = tmp_path / "mine.toml"
    file.write_text("[chips.m890]\nmemory_bandwidth_tb_per_s = 46\n")
    plain = planned_json(capsys, *one_chip())["candidates"][1]
    own = planned_json(capsys, *one_chip("--facts", str(file), "--fleet", "3"))
    mine = own["candidates"][1]
    assert mine["tpot_s"]["mean"] < plain["tpot_s"]["mean"]
    assert any(one["status"] == "yours" and "mine.toml" in one["source"] for one in mine["provenance"])
    assert any("yours: chips/zhenwu-m890 memory bandwidth" in note for note in own["notes"])
    assert any("a fleet of 3: 3 chips" in note for note in own["notes"])


def test_ctrl_c_prints_what_is_known(home: Path) -> None:
    """Interrupted after the first candidates, the plan prints them, says so, and ends with 1."""
    many = [f"--on={chip}x{count}/llama-3.1-8b" for chip in ("h200", "m890") for count in (1, 2, 4, 8)]
    command = "import sys; from perdure.cli.main import main; sys.exit(main(sys.argv[1:]))"
    ours, theirs = os.openpty()  # the bar is drawn on a terminal only
    process = subprocess.Popen(
        [sys.executable, "-c", command, "plan", "--agents", "40", "--seeds", "2", "--json", *many],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**os.environ, "PERDURE_HOME": str(home)},
    )
    os.close(theirs)
    seen = b""
    while not re.search(rb"\] [1-9]\d* of \d+ candidates", seen):
        seen += os.read(ours, 4096)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=120)
    os.close(ours)
    assert process.returncode == 1, seen.decode()
    answer = json.loads(out)
    assert answer["complete"] is False
    known = [one for one in answer["candidates"] if one["requests"]]
    assert 0 < len(known) < len(answer["candidates"])


def test_the_built_in_plan_names_this_machine_and_two_chips() -> None:
    """Bare `perdure plan` compares this machine with an M890 and an H200."""
    assert [text.partition("x")[0] for text in BUILT_IN_ON] == ["this-machine", "m890", "h200"]
