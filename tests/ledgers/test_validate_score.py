"""The score of `perdure validate silicon` on rows made up so that it can be done by hand."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from perdure.cli.main import main
from perdure.errors import BadRequest
from perdure.twin.validate_launch import launch_of
from perdure.twin.validate_predict import predict
from perdure.twin.validate_rows import Layout, Row, of_split, read_rows, without_duplicates
from perdure.twin.validate_score import noise_floor_ape, score

COLUMNS = (
    "id,silicon_data_source,backend,backend_version,model_path,system,precision,mode,isl,osl,batch_size,"
    "tp_size,attention_dp_size,moe_tp_size,moe_ep_size,decode_num_workers,decode_tp_size,decode_attention_dp_size,"
    "decode_moe_tp_size,decode_moe_ep_size,silicon_ttft_ms,silicon_tpot_ms"
)
CLIENTS = "source_file=x.csv; silicon_concurrency=16; measured=2026-03-01"
DENSE = f"a,{CLIENTS},vllm,0.19.0,Qwen/Qwen3-32B,h200_sxm,fp8,agg,1024,1024,16,4,1,4,1,,,,,,100,{{}}"


def rows_of(tmp_path: Path, *lines: str) -> tuple[Row, ...]:
    """The rows that those lines of a sample are."""
    path = tmp_path / "sample.csv"
    path.write_text("\n".join((COLUMNS, *lines)) + "\n", encoding="utf-8")
    return read_rows(path)


def test_errors_are_those_done_by_hand(tmp_path: Path) -> None:
    """Measured 10 and 20 ms, predicted 11 and 16: errors of 10 and 20 %, 15 % at the median and the mean."""
    lines = (DENSE.format(10), DENSE.format(20).replace("a,", "b,", 1))
    found = score(rows_of(tmp_path, *lines), {"a": 0.011, "b": 0.016})
    assert found.errors is not None
    assert found.errors.median_ape == pytest.approx(0.15)
    assert found.errors.mean_ape == pytest.approx(0.15)
    assert found.errors.model_medians == {"Qwen3-32B": pytest.approx(0.15)}
    assert found.cells[0].bias == pytest.approx(-0.05)


def test_models_count_alike_however_many_rows_they_have(tmp_path: Path) -> None:
    """Two rows at 10 % and one of another model at 40 %: 25 % over models, 10 % over rows."""
    other = DENSE.format(10).replace("a,", "c,", 1).replace("Qwen3-32B", "Qwen3-235B-A22B-FP8")
    lines = (DENSE.format(10), DENSE.format(20).replace("a,", "b,", 1), other)
    found = score(rows_of(tmp_path, *lines), {"a": 0.011, "b": 0.022, "c": 0.014})
    assert found.errors is not None
    assert found.errors.mean_of_model_medians == pytest.approx(0.25)
    assert found.errors.worst_model_median == pytest.approx(0.4)
    assert found.errors.median_ape == pytest.approx(0.1)


def test_the_noise_floor_is_how_far_a_setting_lies_from_itself(tmp_path: Path) -> None:
    """8 and 10 ms: the one misses the other by 25 % or 20 %, 22.5 % on average."""
    lines = (DENSE.format(8), DENSE.format(10).replace("a,", "b,", 1))
    assert noise_floor_ape(rows_of(tmp_path, *lines)) == pytest.approx(0.225)
    assert noise_floor_ape(rows_of(tmp_path, DENSE.format(8))) is None


def test_exact_and_rounded_copies_count_once(tmp_path: Path) -> None:
    """12.3456 and 12.35 ms of one setting are one run; 12.6 ms is another."""
    names = iter("bcd")
    copies = [DENSE.format(t).replace("a,", f"{next(names)},", 1) for t in (12.3456, 12.35, 12.6)]
    rows = without_duplicates(rows_of(tmp_path, DENSE.format(12.3456), *copies))
    assert [row.id for row in rows] == ["a", "d"]


def test_an_empty_precision_is_taken_from_the_name(tmp_path: Path) -> None:
    """No suffix is BF16, and stays computable; the suffix FP8 is FP8."""
    bare = DENSE.format(9).replace(",fp8,", ",,")
    fp8 = bare.replace("Qwen3-32B", "Qwen3-235B-A22B-FP8").replace("a,", "b,", 1)
    first, second = rows_of(tmp_path, bare, fp8)
    assert (first.precision, first.precision_inferred, first.lacks) == ("bf16", True, None)
    assert (second.precision, second.model) == ("fp8", "Qwen3-235B-A22B")


def test_what_a_row_lacks_makes_it_not_computable(tmp_path: Path) -> None:
    """Disaggregated without worker counts, without a concurrency, or with a whole rack as one group."""
    apart = DENSE.format(9).replace(",agg,", ",disagg,").replace(",,,,,,100", ",,4,1,4,1,100")
    silent = DENSE.format(9).replace("silicon_concurrency=16; ", "")
    rack = DENSE.format(9).replace(",4,1,4,1,", ",72,1,72,1,")
    found = score(rows_of(tmp_path, apart, silent, rack), {"a": 0.009})
    assert found.computable == found.computed == 0
    assert sorted(found.not_computable) == [
        "chips of the whole deployment written as one tensor-parallel group",
        "disaggregated without worker counts",
        "no concurrency",
    ]


def test_servers_behind_one_address_share_its_clients(tmp_path: Path) -> None:
    """416 clients and 13 for each server of NVIDIA's own runs: 32 servers. InferenceX runs one."""
    line = DENSE.format(9).replace(",1024,16,", ",1024,13,").replace("rency=16", "rency=416")
    own = line.replace("source_file=x.csv", "source_file=aic-auto-gap-analysis/x.csv")
    one, many = rows_of(tmp_path, line, own.replace("a,", "b,", 1))
    assert (one.replicas, many.replicas) == (1, 32)
    assert predict(many).sequences < 13 < predict(one).sequences


def test_nvidia_writes_the_layout_itself_into_its_columns(tmp_path: Path) -> None:
    """Four chips that cut each expert in two and deal them out in two ways are no square of two chips."""
    line = DENSE.format(9).replace("Qwen3-32B", "Qwen3-235B-A22B-FP8").replace(",4,1,4,1,", ",4,,2,2,")
    own = line.replace("source_file=x.csv", "source_file=aic-auto-gap-analysis/x.csv")
    (row,) = rows_of(tmp_path, own)
    assert row.layout == Layout(tp=4, dp=1, moe_tp=2, ep=2)


QWEN = DENSE.format(9).replace("vllm,0.19.0,Qwen/Qwen3-32B", "sglang,0.5.9,Qwen/Qwen3.5-397B-A17B")


def test_speculation_is_read_off_the_published_settings(tmp_path: Path) -> None:
    """Qwen3.5 in FP8 on four chips: with expert parallelism never, without it always, three a step."""
    dealt, cut = QWEN.replace(",4,1,4,1,", ",4,1,1,4,"), QWEN.replace("a,", "b,", 1)
    without, guessing = rows_of(tmp_path, dealt, cut)
    assert (launch_of(without).draft_tokens, launch_of(guessing).draft_tokens) == (0, 3)
    all_hold, none_hold = (predict(guessing, accepted=share).decode_s for share in (1.0, 0.0))
    assert none_hold == pytest.approx(4 * all_hold)


def test_a_cache_is_kept_as_the_script_says(tmp_path: Path) -> None:
    """Qwen3.5's script asks for FP8; GLM-5's on Hopper for nothing; NVIDIA's own runs are as the stack is."""
    glm = QWEN.replace("a,", "b,", 1).replace("Qwen/Qwen3.5-397B-A17B", "zai-org/GLM-5")
    own = QWEN.replace("a,", "c,", 1).replace("source_file=x.csv", "source_file=aic-auto-gap-analysis/x.csv")
    kept = [launch_of(row).kv for row in rows_of(tmp_path, QWEN, glm, own)]
    assert kept == ["fp8", "bf16", "bf16"]


def test_prompts_that_came_together_are_prefilled_together(tmp_path: Path) -> None:
    """SGLang on B200 looks for requests every 30 steps: two prompts take less than twice one."""
    busy = (
        QWEN.replace("h200_sxm", "b200_sxm").replace(",4,1,4,1,", ",8,1,8,1,").replace("rency=16", "rency=64")
    )
    seldom, often = rows_of(tmp_path, busy, busy.replace("a,", "b,", 1).replace("b200", "h200"))
    assert (launch_of(seldom).receive_steps, launch_of(often).receive_steps) == (30, 1)
    one, other = predict(seldom), predict(replace(seldom, concurrency=15))
    assert 0.55 * other.prefill_s < one.prefill_s < 0.95 * other.prefill_s


def test_chips_reduce_with_the_kernel_that_was_launched(tmp_path: Path) -> None:
    """Kimi under vLLM on B200 adds up with FlashInfer's kernel, which is faster than vLLM's own."""
    line = DENSE.format(9).replace("Qwen/Qwen3-32B", "moonshotai/Kimi-K2.5-NVFP4").replace("h200", "b200")
    line = line.replace(",fp8,", ",fp4,").replace("rency=16", "rency=64").replace(",1024,16,", ",1024,64,")
    own = line.replace("a,", "b,", 1).replace("source_file=x.csv", "source_file=aic-auto-gap-analysis/x.csv")
    told, untold = rows_of(tmp_path, line, own)
    assert (launch_of(told).fused_reduces, launch_of(untold).fused_reduces) == (True, False)
    untold = replace(untold, input_tokens=round(0.9 * 1024), output_tokens=round(0.9 * 1024))
    assert predict(told).decode_s < 0.97 * predict(untold).decode_s


def test_one_release_is_slow_behind_one_address(tmp_path: Path) -> None:
    """Several servers of TensorRT-LLM 1.3.0rc1 have a generation of their own; one server does not."""
    line = DENSE.format(9).replace("source_file=x.csv", "source_file=aic-auto-gap-analysis/x.csv")
    line = line.replace("vllm,0.19.0", "trtllm,1.3.0rc1")
    one, many = rows_of(tmp_path, line, line.replace("a,", "b,", 1).replace(",1024,16,", ",1024,4,"))
    assert (one.generation, many.generation) == ("trtllm", "trtllm-1.3.0rc1")


@pytest.mark.parametrize(
    ("name", "columns", "layout"),
    [
        ("x_tp8_ep8_1", "64,1,8,8", Layout(tp=8, dp=1, moe_tp=1, ep=8)),
        ("x_tp4_ep4_1", "1,16,4,4", Layout(tp=1, dp=4, moe_tp=1, ep=4)),
        ("x_cfg199", "64,1,8,8", Layout(tp=8, dp=1, moe_tp=1, ep=8)),
        ("x_cfg635", "4,4,1,16", Layout(tp=4, dp=1, moe_tp=1, ep=4)),
        ("x_cfg1", "8,1,8,1", Layout(tp=8, dp=1, moe_tp=8, ep=1)),
        ("x_tp1_epnone_2", "1,,2,1", Layout(tp=1, dp=2, moe_tp=2, ep=1)),
    ],
)
def test_layouts_are_read_as_they_ran(tmp_path: Path, name: str, columns: str, layout: Layout) -> None:
    """TP times EP in a column, or EP times DP, is not how many chips there were."""
    line = DENSE.format(9).replace("Qwen3-32B", "Qwen3-235B-A22B-FP8")
    line = line.replace("a,", f"{name},", 1).replace(",4,1,4,1,", f",{columns},")
    (row,) = rows_of(tmp_path, line)
    assert row.layout == layout


def test_no_model_is_in_both_splits_or_in_neither(tmp_path: Path) -> None:
    """Held-out models are never fitted to; an unknown model is refused instead of guessed."""
    llama = DENSE.format(9).replace("Qwen/Qwen3-32B", "meta-llama/Llama-3.1-70B").replace("a,", "b,", 1)
    rows = rows_of(tmp_path, DENSE.format(9), llama)
    assert [row.id for row in of_split(rows, "held-out")] == ["a"]
    assert [row.id for row in of_split(rows, "fit")] == ["b"]
    assert len(of_split(rows, "all")) == 2
    with pytest.raises(BadRequest, match="neither split"):
        rows_of(tmp_path, DENSE.format(9).replace("Qwen3-32B", "Qwen9-1B"))


def test_more_clients_make_a_token_slower(tmp_path: Path) -> None:
    """Sixteen, then sixty-four clients of one server: each waits for the others' prompts and sequences."""
    few, many = rows_of(tmp_path, DENSE.format(9), DENSE.format(9).replace("rency=16", "rency=64"))
    assert predict(few).tpot_s < predict(many).tpot_s


def test_clients_that_do_not_fit_wait(tmp_path: Path) -> None:
    """Past what the memory holds, more clients do not slow a token: they queue for their first."""
    many, more = (
        rows_of(tmp_path, DENSE.format(9).replace("rency=16", f"rency={clients}"))[0]
        for clients in (20_000, 40_000)
    )
    assert predict(many).sequences == predict(more).sequences


def test_the_command_prints_its_contract(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--json` has every key that a caller relies on, errors as fractions, ours beside AIConfigurator's."""
    rows_of(tmp_path, DENSE.format(9), DENSE.format(12).replace("a,", "b,", 1))
    peer = tmp_path / "peer.json"
    peer.write_text(json.dumps({"rows": {"a": {"tpot_s": 0.018}, "b": {"error": "no data"}}}))
    sample = str(tmp_path / "sample.csv")
    assert main(["validate", "silicon", "--json", "--sample", sample, "--aiconfigurator", str(peer)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["rows"], found["computable"], found["computed"]) == (2, 2, 2)
    assert {"median_ape", "mean_ape", "mean_of_model_medians", "worst_model_median"} <= set(found["tpot"])
    assert found["aiconfigurator"]["computed"] == 1
    assert found["aiconfigurator"]["tpot"]["median_ape"] == pytest.approx(1.0)
    assert found["noise_floor_ape"] == pytest.approx((1 / 3 + 1 / 4) / 2)
    (cell,) = found["cells"]
    assert {"model", "system", "backend", "rows", "computed", "tpot_median_ape"} <= set(cell)


def test_the_command_prints_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without `--json` a person reads the same, and how to have the peer's predictions."""
    rows_of(tmp_path, DENSE.format(9))
    sample, absent = str(tmp_path / "sample.csv"), str(tmp_path / "none.json")
    assert main(["validate", "silicon", "--sample", sample, "--aiconfigurator", absent]) == 0
    printed = capsys.readouterr().out
    assert "1 measured rows (held-out)" in printed
    assert "bench/aiconfigurator.py" in printed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "lacks the columns id, silicon_data_source, backend"),
        (COLUMNS.replace(",osl", "") + "\n", "lacks the columns osl;"),
        ("", "lacks the columns id"),
        (COLUMNS + "\n", "has no rows"),
        (COLUMNS + "\na,b\n", "line 2: ends before its last column"),
        (f"{COLUMNS}\n{DENSE.format('fast')}\n", "line 2: a number makes no sense.*fast"),
        (f"{COLUMNS}\n{DENSE.format(9).replace(',4,1,4,1,', ',inf,1,4,1,')}\n", "line 2: a number makes no"),
        ("\udcff", "cannot be read as a CSV"),
    ],
)
def test_a_sample_that_is_none_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """A file without the columns, rows or numbers is named along with what it lacks."""
    path = tmp_path / "sample.csv"
    path.write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(BadRequest, match=rf"sample\.csv: {message}"):
        read_rows(path)


@pytest.mark.parametrize("name", ["nonexistent.csv", "."])
def test_a_sample_that_cannot_be_opened_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """No file there, or a folder: one line that names it, no traceback."""
    assert main(["validate", "silicon", "--sample", str(tmp_path / name)]) == 2
    assert "cannot be read as a CSV of measured rows" in capsys.readouterr().err


def test_names_are_whole_on_a_screen_of_80_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The longest model, system and heading stand in one line each, and nothing is cut with an ellipsis."""
    monkeypatch.setenv("COLUMNS", "80")
    path = tmp_path / "sample.csv"
    longest = DENSE.format(10).replace("Qwen3-32B", "Qwen3.5-397B-A17B").replace("vllm,0.19.0", "trtllm,1.2")
    path.write_text(f"{COLUMNS}\n{longest}\n", encoding="utf-8")
    absent = str(tmp_path / "absent.json")
    assert main(["validate", "silicon", "--sample", str(path), "--aiconfigurator", absent]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert not [line for line in lines if "…" in line or len(line) > 80]
    assert [
        line for line in lines if all(word in line for word in ("Qwen3.5-397B-A17B", "h200_sxm", "trtllm"))
    ]
    assert [line for line in lines if all(word in line for word in ("computed", "Perdure", "AIConfigurator"))]
