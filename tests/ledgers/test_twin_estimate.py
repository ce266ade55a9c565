"""What the estimate says of a run shaped like the kernel-tuning job, and how it says it."""

import json
import random
from pathlib import Path

import msgspec
import pytest

from perdure.catalog.entry import Entry
from perdure.catalog.figure import Status
from perdure.catalog.load import load_catalog
from perdure.cli.main import main
from perdure.errors import BadRequest
from perdure.models.batch import Batch, Decode
from perdure.models.precision import PRECISIONS
from perdure.silicon.machine import machine_entry
from perdure.traces.record import CallRecord, write_records
from perdure.twin.choices import estimate_rows
from perdure.twin.deployment import Deployment
from perdure.twin.estimate import estimate_row, prefill_tokens
from perdure.twin.report import footnotes, render, rows_json


def kernel_tuning_run(calls: int = 35) -> list[CallRecord]:
    """Calls as that job makes them: a context that grows by answer and tool result, mostly cached."""
    chance = random.Random(7)
    records: list[CallRecord] = []
    prompt, cached = 400, 0
    for turn in range(calls):
        output = chance.randint(30, 80)
        records.append(
            CallRecord(
                model="smollm2-135m",
                session="run_1",
                program="run_1",
                start_s=1_700_000_000.0 + 3 * turn,
                prompt_tokens=prompt,
                cached_tokens=cached,
                output_tokens=output,
                queue_s=0.001,
                prefill_s=(prompt - cached) / 500,
                decode_s=output / 60,
                reason="tool_calls",
                tool="evaluate",
                tool_s=0.8,
            )
        )
        cached, prompt = prompt, prompt + output + chance.randint(15, 30)
    return records


RUN = kernel_tuning_run()


def one_call(**changes: object) -> CallRecord:
    """A call of 1,000 prompt tokens, 900 of them cached, and 11 tokens of answer."""
    base = CallRecord(
        model="smollm2-135m",
        start_s=0,
        prompt_tokens=1000,
        cached_tokens=900,
        output_tokens=11,
        reason="stop",
    )
    return msgspec.structs.replace(base, **changes)


def on_h200(model: str = "qwen3-32b") -> Deployment:
    catalog = load_catalog()
    return Deployment(
        hardware="H200",
        chip=catalog.chip("nvidia-h200"),
        model=catalog.model(model),
        precision=PRECISIONS["bf16"],
    )


def test_decode_of_one_call_on_an_h200() -> None:
    """Ledger: 11 tokens are 10 steps at mean context 1,005.5, each the floor of `test_cost_ledger`."""
    times = estimate_row([one_call()], on_h200()).times
    assert times is not None
    step = on_h200().instance.price(Batch(decodes=(Decode(context_tokens=1005.5),)))
    assert times.decode_s.mid == pytest.approx(10 * step.seconds.mid)
    assert times.decode_s.mid == pytest.approx(10 * 13.5e-3, rel=0.2)
    assert times.decode_s.low == times.decode_s.high
    assert times.bound == "memory"


def test_the_last_prompt_token_is_always_computed() -> None:
    """A prompt that is cached whole still costs one token, for its next one is what was asked for."""
    assert prefill_tokens(one_call(cached_tokens=1000)) == 1
    assert prefill_tokens(one_call(cached_tokens=0)) == 1000


def test_an_answer_of_one_token_needs_no_decode_step() -> None:
    """Ledger: the prefill gives the first token, so one token or none costs no step."""
    for output in (0, 1):
        times = estimate_row([one_call(output_tokens=output)], on_h200()).times
        assert times is not None
        assert times.decode_s.mid == 0


def test_the_default_rows() -> None:
    """This machine as recorded; M890 and H200 with the small and a larger model; AL128 with the stand-in."""
    rows = estimate_rows(RUN)
    assert [(row.hardware, row.model, row.chips, row.status) for row in rows] == [
        ("this machine", "SmolLM2-135M", 1, Status.MEASURED),
        ("1 × Zhenwu M890", "SmolLM2-135M", 1, Status.ESTIMATE),
        ("1 × Zhenwu M890", "Qwen3-32B", 1, Status.ESTIMATE),
        ("1 × NVIDIA H200", "SmolLM2-135M", 1, Status.PUBLISHED),
        ("1 × NVIDIA H200", "Qwen3-32B", 1, Status.PUBLISHED),
        ("Panjiu AL128, 64 chips", "Qwen3.8-2.4T-A95B", 64, Status.ESTIMATE),
    ]
    assert rows[-1].stands_in_for == "Qwen3.7-Max"
    assert rows[-1].precision == "mxfp4-fp8"


def test_this_machine_is_what_was_recorded() -> None:
    """Ledger: the sums of the engine's own times and of the tools', nothing modelled."""
    (row,) = estimate_rows(RUN, on=["this-machine"])
    assert row.times is not None
    assert row.times.prefill_s.mid == pytest.approx(sum(record.prefill_s or 0 for record in RUN))
    assert row.times.decode_s.mid == pytest.approx(sum(record.output_tokens for record in RUN) / 60)
    assert row.times.tool_s == pytest.approx(35 * 0.8)
    assert row.times.job_s.mid == pytest.approx(
        row.times.prefill_s.mid + row.times.decode_s.mid + row.times.tool_s
    )


def test_tools_keep_their_recorded_time_everywhere() -> None:
    """No chip makes a compiler faster: tool seconds are the same on every row."""
    for row in estimate_rows(RUN):
        assert row.times is not None
        assert row.times.tool_s == pytest.approx(28.0)


def test_guessed_rows_are_ranges_and_others_are_not() -> None:
    """A range appears exactly where a guess does, and holds its mid."""
    for row in estimate_rows(RUN):
        assert row.times is not None
        for seconds in (row.times.prefill_s, row.times.decode_s, row.times.job_s):
            assert seconds.low <= seconds.mid <= seconds.high
            assert (seconds.low < seconds.high) == (row.status is Status.ESTIMATE)


def test_a_row_names_every_guess_it_rests_on() -> None:
    """The M890 rows rest on bandwidth, compute and launch; AL128 on the collective and FP8 as well."""
    rows = estimate_rows(RUN, on=["m890", "al128"])
    assert {figure.name for figure in rows[0].rests_on if figure.guessed} == {
        "memory_bandwidth_bytes_per_s",
        "bf16_dense_flop_per_s",
        "launch_s",
    }
    assert {figure.name for figure in rows[-1].rests_on if figure.guessed} == {
        "memory_bandwidth_bytes_per_s",
        "bf16_dense_flop_per_s",
        "fp8_dense_flop_per_s",
        "launch_s",
        "software_s",
    }
    notes = "\n".join(footnotes(rows))
    for figure in rows[-1].rests_on:
        if figure.guessed:
            assert figure.source in notes


def test_a_model_that_does_not_fit_says_by_how_much() -> None:
    """Ledger: 4,892,365,451,008 B of BF16 weights on one H200 of 141 GB are 4.8 TB too many."""
    row = estimate_row([one_call()], on_h200("qwen3.8-2.4t-a95b"))
    assert row.times is None
    assert row.problem is not None
    assert row.problem.startswith("does not fit: needs 4.9 TB a chip, has 141.0 GB: 4.8 TB too many")
    assert "does not fit" in render([row], [one_call()])


def test_a_call_longer_than_the_window_does_not_run() -> None:
    """Qwen3-32B has a window of 40,960 tokens; a longer call is not estimated."""
    row = estimate_row([one_call(prompt_tokens=50_000)], on_h200())
    assert row.times is None
    assert "50,011 tokens" in (row.problem or "")


def test_a_trace_without_times_needs_a_probe() -> None:
    """Where the engine did not say how long it took, this machine is not made up."""
    (row,) = estimate_rows([one_call()], on=["this-machine"])
    assert row.times is None
    assert "not timed" in (row.problem or "")
    recorded, roofline = estimate_rows(RUN, on=["this-machine"], machine=slow_machine())
    assert recorded.status is Status.MEASURED
    assert roofline.times is not None
    # 98,362,432 bytes a step at 10 GB/s, and the cache.
    steps = sum(record.output_tokens - 1 for record in RUN)
    assert roofline.times.decode_s.mid > steps * 98_362_432 / 10e9


def test_a_model_that_the_catalogue_lacks_still_gets_the_other_rows() -> None:
    """An unknown recorded model keeps its recorded row and the larger models'."""
    unknown = [msgspec.structs.replace(record, model="mystery-7b") for record in RUN]
    assert [row.model for row in estimate_rows(unknown)] == [
        "mystery-7b",
        "Qwen3-32B",
        "Qwen3-32B",
        "Qwen3.8-2.4T-A95B",
    ]


def test_untimed_tools_are_said_to_count_as_zero() -> None:
    """A tool whose time nobody recorded is named, not silently free."""
    row = estimate_row([one_call(tool="evaluate")], on_h200())
    assert any("1 tool calls have no recorded time" in note for note in row.notes)


def test_unknown_hardware_suggests_the_nearest() -> None:
    """Whoever misspells a hardware is told what there is."""
    with pytest.raises(BadRequest, match=r"(?i)did you mean h200"):
        estimate_rows(RUN, on=["h20"])


def test_the_table_says_how_to_read_it() -> None:
    """The report names the guesses, the stand-in, and that it is a floor and not a forecast."""
    text = " ".join(render(estimate_rows(RUN), RUN, width=80).split())
    assert "35 model calls in 1 session" in text
    assert "GUESS" in text
    assert "1 2 3 4 5" in text
    assert "[1] GUESS: zhenwu-m890 memory bandwidth 3.2 to 4.9 TB/s (mid 4.6): undisclosed" in text
    assert "stands in for Qwen3.7-Max" in text
    assert "a floor, not a forecast" in text


def test_the_report_fits_eighty_columns() -> None:
    """No line is wider than a terminal, and no name of a chip or model is cut."""
    text = render(estimate_rows(RUN), RUN, width=80)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    assert "Qwen3.8-2.4T-A95B" in text


def test_the_command_prints_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`perdure estimate TRACE --json` is one object whose rows keep every figure's provenance."""
    trace = tmp_path / "trace.jsonl"
    write_records(trace, RUN)
    assert main(["estimate", str(trace), "--on", "al128,this-machine", "--json"]) == 0
    out = json.loads(capsys.readouterr().out)
    assert out["calls"] == 35
    assert [row["hardware"] for row in out["rows"]] == ["Panjiu AL128, 64 chips", "this machine"]
    assert out["rows"] == json.loads(
        json.dumps(rows_json(estimate_rows(RUN, on=["al128", "this-machine"]), RUN)["rows"])
    )
    al128 = out["rows"][0]
    assert al128["job_s"]["low"] < al128["job_s"]["mid"] < al128["job_s"]["high"]
    assert {figure["status"] for figure in al128["rests_on"]} >= {
        "estimate",
        "measured",
        "published",
        "press",
    }
    assert all(figure["source"] for figure in al128["rests_on"])


def test_the_command_prints_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --json a person gets the table."""
    trace = tmp_path / "trace.jsonl"
    write_records(trace, RUN)
    assert main(["estimate", str(trace)]) == 0
    assert "Panjiu AL128" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words", [["missing.jsonl"], ["trace.jsonl", "--on", "h20"], ["trace.jsonl", "--on", ","]]
)
def test_the_command_refuses_what_makes_no_sense(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    """A missing trace or unknown hardware is bad usage, exit 2, with a message that says what to do."""
    monkeypatch.chdir(tmp_path)
    write_records(tmp_path / "trace.jsonl", RUN)
    assert main(["estimate", *words]) == 2
    assert capsys.readouterr().err.startswith("perdure estimate: ")


def slow_machine() -> Entry:
    """A machine of 10 GB/s and 100 GFLOP/s, as the probe would describe it."""
    return machine_entry(
        flop_per_s=100e9, bytes_per_s=10e9, memory_bytes=8 * 10**9, how="made up for a test, on one core"
    )
