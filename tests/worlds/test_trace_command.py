"""`perdure trace` on workload files: what is shown, imported and exported, and every refusal."""

import json
from pathlib import Path

import pytest

from perdure.cli.main import main
from perdure.traces.workload import read_workload

SESSION = {
    "block_size": 64,
    "hash_id_scope": "local",
    "requests": [
        {"t": 0, "in": 138, "out": 5, "hash_ids": [1, 2], "api_time": 2, "model": "opus"},
        {"t": 30, "duration_ms": 20_000, "requests": [{"t": 0, "in": 70, "out": 0, "hash_ids": [9]}]},
        {"t": 40, "in": 266, "out": 5, "hash_ids": [1, 2, 3, 4], "api_time": 2, "model": "opus"},
    ],
}


@pytest.fixture
def session(tmp_path: Path) -> Path:
    path = tmp_path / "session.json"
    path.write_text(json.dumps(SESSION))
    return path


def said(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    return json.loads(capsys.readouterr().out)


def test_show_prints_numbers_and_repairs(session: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A person reads counts, quantiles and what was repaired; a program reads the same as JSON."""
    assert main(["trace", "show", str(session)]) == 0
    text = capsys.readouterr().out
    assert "1 programs, 2 sessions, 1 of them started by another (1 waited for), 3 turns" in text
    assert "repaired 1: an empty answer, taken as one token" in text
    assert main(["trace", "show", str(session), "--json"]) == 0
    shown = said(capsys)
    assert shown["turns"] == 3
    assert shown["sub_agents"] == 1
    assert shown["models"] == {"opus": 2, "unnamed": 1}
    assert shown["reuse"] == pytest.approx(128 / (138 + 70 + 266))
    assert shown["import"]["repaired"]["an empty answer, taken as one token"] == 1  # type: ignore[index]


def test_show_takes_a_workload_to_generate(capsys: pytest.CaptureFixture[str]) -> None:
    """What `simulate` would run can be looked at before."""
    assert main(["trace", "show", "synthetic:requests=10,input=100,output=5", "--json"]) == 0
    assert said(capsys)["output_tokens"] == 50


def test_import_writes_what_show_reads(
    session: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The Parquet file holds the same workload, and the command says what it did and what comes next."""
    out = tmp_path / "w.parquet"
    assert main(["trace", "import", str(session), "--to", str(out)]) == 0
    assert f"perdure trace show {out}" in capsys.readouterr().out
    assert main(["trace", "import", str(session), "--to", str(out), "--json"]) == 0
    assert said(capsys)["calls"] == 3
    assert main(["trace", "show", str(out), "--json"]) == 0
    assert said(capsys)["import"]["format"] == "parquet"  # type: ignore[index]
    assert main(["trace", "import", str(session), "--to", str(out), "--concurrency", "3"]) == 0
    assert read_workload(out)[0].concurrency == 3
    assert main(["trace", "import", str(session), "--to", str(out), "--concurrency", "0"]) == 2


def test_import_of_a_table_with_named_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--map` names the columns; without it the message says how."""
    table = tmp_path / "t.csv"
    table.write_text("a,b,c\n0,10,2\n5,20,3\n")
    out = tmp_path / "w.parquet"
    words = ["trace", "import", str(table), "--to", str(out)]
    assert main(words) == 2
    assert "--map arrival=COLUMN,input=COLUMN,output=COLUMN" in capsys.readouterr().err
    assert main([*words, "--map", "arrival=a,input=b,output=c"]) == 0
    assert read_workload(out)[0].arrival_s.tolist() == [0.0, 5.0]
    assert main([*words, "--map", "arrival"]) == 2
    assert "write ROLE=COLUMN" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["parquet", "mooncake", "llmservingsim"])
def test_export_writes_a_workload_for_others(
    session: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """What is written is read back with as many calls, and what a format cannot say is printed."""
    out = tmp_path / "out"
    assert main(["trace", "export", str(session), "--to", str(out), "--format", name]) == 0
    notes = capsys.readouterr().err
    assert len(read_workload(out)[0].new_tokens) == 3
    assert ("the format knows no forks" in notes) == (name == "llmservingsim")


def test_export_refuses_what_it_cannot_do(
    session: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No format, no place, records of no run, a folder that is not there: exit 2, and what to do."""
    out = str(tmp_path / "out.x")
    for words, message in (
        (["--to", out], "--format parquet, mooncake or llmservingsim"),
        (["--to", out, "--format", "jsonl"], "only a run has it"),
        (["--format", "mooncake"], "say where to write it: --to FILE.jsonl"),
        (["--to", str(tmp_path / "no" / "x"), "--format", "mooncake"], "Give --to a file in a folder"),
        (["--to", str(tmp_path / "no" / "x"), "--format", "parquet"], "cannot write"),
        (["--to", out, "--format", "mooncake", "--block-tokens", "0"], "a block has 1 to 65536 tokens"),
    ):
        assert main(["trace", "export", str(session), *words]) == 2
        assert message in capsys.readouterr().err


def test_a_run_that_nobody_knows_is_not_found(capsys: pytest.CaptureFixture[str]) -> None:
    """A name that is neither a file nor a run says so."""
    assert main(["trace", "export", "run-nobody-knows"]) == 2
    assert "run-nobody-knows" in capsys.readouterr().err
    assert main(["trace", "show", "nobody.json"]) == 2
    assert "there is no workload at nobody.json" in capsys.readouterr().err
