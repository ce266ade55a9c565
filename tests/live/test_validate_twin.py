"""The twin beside whole runs of vLLM, and beside first tokens of measured rows, where these are at hand."""

import importlib.util
import json
from pathlib import Path

import pytest

from perdure.cli.main import main
from perdure.errors import BadRequest
from perdure.twin.measured_run import read_run, read_runs
from perdure.twin.validate_twin_figures import figures_of
from perdure.twin.validate_twin_runs import Judge

RUNS = Path(__file__).parents[3] / "shared" / "measured" / "vllm-runs"
needs_runs = pytest.mark.skipif(
    not RUNS.is_dir(), reason="the measured vLLM runs are not at ../shared/measured/vllm-runs"
)
needs_rows = pytest.mark.skipif(
    importlib.util.find_spec("aiconfigurator_core") is None,
    reason="the measured rows come with the extra `nvidia` (pip install 'perdure[nvidia]')",
)


@needs_runs
@pytest.mark.parametrize("card", ["RTX4090", "RTXPRO6000"])
def test_a_run_to_which_nothing_was_fitted_is_met(card: str) -> None:
    """TTFT, TPOT and E2E within ten percent, on kernels of the card and software of other hardware."""
    judge = Judge(read_run(RUNS / card / "Llama-3.1-8B"))
    score = judge.score(judge.shipped)
    for name, error in score.errors.items():
        assert abs(error) <= 0.10, name
    assert all(low <= error <= high for low, error, high in score.p99.values())


@needs_runs
def test_overhead_fitted_to_one_card_holds_on_the_other_both_ways() -> None:
    """Within ten percent everywhere, from what is shipped; nothing of the judged run takes part."""
    small, large = (Judge(run) for run in read_runs(RUNS))
    assert small.score(large.fit()).worst_ape <= 0.10
    assert large.score(small.fit()).worst_ape <= 0.10


@needs_runs
def test_the_fitted_overhead_explains_its_own_run_no_worse_than_the_shipped_one() -> None:
    """Else the fit is none."""
    for judge in map(Judge, read_runs(RUNS)):
        fitted, shipped = (judge.score(overhead) for overhead in (judge.fit(), judge.shipped))
        assert fitted.mean_ape <= shipped.mean_ape


@needs_runs
def test_the_twin_comes_out_as_the_block_exact_reference() -> None:
    """Every figure of both runs, with some 200 calls set back on the smaller card, within 3 percent of it."""
    for run in read_runs(RUNS):
        judge = Judge(run)
        twin, _ = judge.simulate(judge.shipped)
        expected = figures_of(judge.replay(judge.shipped))
        for name, figure in figures_of(twin).items():
            assert figure == pytest.approx(expected[name], rel=0.03), name


@needs_runs
def test_calls_are_set_back_only_where_room_is_short() -> None:
    """41,408 tokens of KV on the RTX 4090 are too few for 256 sequences; the other card has room for 128."""
    small, large = (Judge(run) for run in read_runs(RUNS))
    assert small.score(small.shipped).preemptions > 100
    assert large.score(large.shipped).preemptions == 0


@needs_runs
@needs_rows
def test_the_command_prints_both_judgements(capsys: pytest.CaptureFixture[str]) -> None:
    """docs/fidelity.md states the figures; here they may be off by a rounding, not by a regression."""
    assert main(["validate", "twin", "--runs", str(RUNS), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ttft"]["median_ape"] <= 0.33
    assert len(found["runs"]["scores"]) == 6


def test_a_folder_without_runs_is_refused(tmp_path: Path) -> None:
    """The message says what would do."""
    with pytest.raises(BadRequest, match="bench/examples"):
        read_runs(tmp_path)


def test_a_run_that_does_not_say_enough_is_refused(tmp_path: Path) -> None:
    """Half a run is no run: the message names the folder and what is missing."""
    (tmp_path / "config.json").write_text('{"nodes": []}')
    (tmp_path / "meta.json").write_text("{}")
    (tmp_path / "requests.jsonl").write_text("{}\n")
    with pytest.raises(BadRequest, match="lacks what it must say"):
        read_run(tmp_path)
