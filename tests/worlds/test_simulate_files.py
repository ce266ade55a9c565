"""`perdure simulate` as typed: page, trace and JSON of one run, and what it says of bad file names."""

from pathlib import Path

import orjson
import pytest

from perdure.cli.main import main
from perdure.twin.run import DRAWS_MIN
from tests.reports import Page, flat

# The twin is imported above, and not by the command alone: where compiled code is kept is settled then, and
# must be where all tests find it.
WORKLOAD = "synthetic:requests=40,turns=4,concurrency=8"
TYPED = ["simulate", "--workload", WORKLOAD, "--on", "h200/llama-3.1-8b", "--draws", str(DRAWS_MIN)]


def test_page_and_json_of_one_run_say_the_same(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """One run writes a page, a trace and one JSON object; the page's figures are those of the JSON."""
    html, trace = tmp_path / "run.html", tmp_path / "run.json"
    assert main([*TYPED, "--json", "--html", str(html), "--perfetto", str(trace)]) == 0
    told = capfd.readouterr()
    known = flat(orjson.loads(told.out))
    page = Page(html.read_text())
    assert page.figures["jct_s.p95"]
    for name, values in page.figures.items():
        assert set(values) == {known[name]}, name
    events = orjson.loads(trace.read_bytes())["traceEvents"]
    assert sum("outcome" in event.get("args", {}) for event in events) == 2 * 40
    assert f"wrote {html}" in told.err


def test_a_folder_that_is_not_there_is_said_before_the_run(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nobody waits for a run whose page has nowhere to go."""
    assert main([*TYPED, "--html", str(tmp_path / "none" / "run.html")]) == 2
    told = capfd.readouterr()
    assert "there is no folder" in told.err
    assert told.out == ""


def test_a_file_that_cannot_be_written_is_said(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The run is told all the same; the exit code and a sentence say what is missing."""
    assert main([*TYPED, "--html", str(tmp_path)]) == 1
    told = capfd.readouterr()
    assert "10 of 10 programs ended whole (100%)" in told.out
    assert "cannot be written" in told.err
