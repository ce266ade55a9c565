"""What `perdure cost` prints, and what it refuses."""

import json
from typing import Any

import pytest

from perdure.catalog.load import load_catalog
from perdure.cli.main import main
from perdure.errors import BadRequest, NotFound
from perdure.models.batch import Batch, Decode, Prefill
from perdure.models.batch_text import batch_text, parse_batch
from perdure.models.parallel import Parallel
from perdure.twin.deployment import Deployment
from perdure.twin.deployment_text import parse_deployment

CATALOG = load_catalog()
BATCH = "prefill=2048@8192,decode=4096x32"


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main(["cost", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["cost", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("perdure cost: ")
    return error


def parsed(text: str, **settings: str) -> Deployment:
    return parse_deployment(text, CATALOG, settings=settings)


def test_the_json_keeps_its_contract(capsys: pytest.CaptureFixture[str]) -> None:
    """Seconds, joules and dollars are ranges; equal ends say that nothing was guessed in the seconds."""
    out = printed(capsys, "--on", "h200x8/qwen3-32b:tp=8", "--batch", BATCH)
    assert {
        "seconds",
        "energy_j",
        "money_usd",
        "bound",
        "operations",
        "memory_bytes",
        "provenance",
    } <= out.keys()
    for name in ("seconds", "energy_j", "money_usd"):
        assert out[name]["low"] <= out[name]["mid"] <= out[name]["high"]
    assert out["seconds"]["low"] == out["seconds"]["high"]
    assert out["bound"] in ("compute", "memory", "link")
    software_s = out["bound_seconds"]["software"]
    assert sum(part["seconds"] for part in out["operations"]) + software_s == pytest.approx(
        out["seconds"]["mid"]
    )
    memory = out["memory_bytes"]
    parts = ("weights", "kv", "state", "activations", "reserve")
    assert sum(memory[part] for part in parts) == pytest.approx(memory["needed"])
    assert memory["available"] == 141e9
    assert all(figure["source"] for figure in out["provenance"]["figures"])
    assert all(factor["source"] for factor in out["provenance"]["efficiency"])


def test_dollars_are_the_rent_that_was_typed(capsys: pytest.CaptureFixture[str]) -> None:
    """Ledger: 2 dollars for each of 8 chips and an hour, whatever the catalogue says."""
    out = printed(capsys, "--on", "h200x8/qwen3-32b", "--batch", BATCH, "--price", "h200=2")
    assert out["money_usd"]["mid"] == pytest.approx(8 * out["seconds"]["mid"] / 3600 * 2)
    assert out["money_usd"]["low"] == out["money_usd"]["high"]
    assert out["break_even"] == []


def test_a_chip_without_a_rent_shows_where_it_breaks_even(capsys: pytest.CaptureFixture[str]) -> None:
    """No dollars for an M890, but the rent at which it costs what an H200 costs: at that rent, it does."""
    words = ("--on", "m890x8/qwen3-32b", "--batch", BATCH)
    out = printed(capsys, *words)
    assert out["money_usd"] is None
    assert out["seconds"]["low"] < out["seconds"]["mid"] < out["seconds"]["high"]
    assert out["provenance"]["draws"] >= 32
    (h200,) = [found for found in out["break_even"] if "H200" in found["than"]]
    usd_per_h = h200["usd_per_chip_hour"]
    assert usd_per_h["low"] < usd_per_h["mid"] < usd_per_h["high"]
    rented = printed(capsys, *words, "--price", f"m890={usd_per_h['mid']}")
    other = printed(capsys, "--on", "h200x8/qwen3-32b", "--batch", BATCH)
    assert rented["money_usd"]["mid"] == pytest.approx(other["money_usd"]["mid"])


def test_a_typed_rent_still_shows_where_it_breaks_even(capsys: pytest.CaptureFixture[str]) -> None:
    """What one person would pay does not say what others ask: the comparison stays as without it."""
    words = ("--on", "m890x8/qwen3-32b", "--batch", BATCH)
    without, typed = printed(capsys, *words), printed(capsys, *words, "--price", "m890=1.2..2.5")
    assert typed["break_even"] == without["break_even"] != []
    twice = refused(capsys, *words, "--price", "m890=1", "--price", "zhenwu-m890=2")
    assert "given twice for m890" in twice


def test_the_json_counts_draws_of_any_range(capsys: pytest.CaptureFixture[str]) -> None:
    """Joules rest on guessed power where the seconds were measured: they too were drawn."""
    out = printed(capsys, "--on", "h200x8/qwen3-32b", "--batch", BATCH)
    assert out["seconds"]["low"] == out["seconds"]["high"]
    assert out["energy_j"]["low"] < out["energy_j"]["high"]
    assert out["provenance"]["draws"] == 64


def test_json_and_text_say_the_same_of_a_floor(capsys: pytest.CaptureFixture[str]) -> None:
    """How many times its floor an operation takes is one figure; a message has none."""
    words = ("--on", "h200x8/qwen3-32b", "--batch", BATCH)
    rows = {part["name"]: part for part in printed(capsys, *words)["operations"]}
    assert main(["cost", *words]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    (output,) = [line for line in lines if line[:2] == ["attention", "output"]]
    assert output[5] == f"{rows['attention output']['times_floor']['mid']:.1f}"
    messages = [part for part in rows.values() if part["family"] == "all_reduce"]
    assert messages
    assert all(part["times_floor"] is None for part in messages)


def test_the_long_form_is_the_short_form(capsys: pytest.CaptureFixture[str]) -> None:
    """Flags and text say the same thing in the same words."""
    short = printed(capsys, "--on", "h200x8/qwen3-235b:tp=4,ep=4,precision=fp8,kv=fp8", "--batch", BATCH)
    flags = ("--tp", "4", "--ep", "4", "--precision", "fp8", "--kv", "fp8")
    assert printed(capsys, "--on", "h200x8", "--model", "qwen3-235b", *flags, "--batch", BATCH) == short


def test_a_rack_and_its_stand_in(capsys: pytest.CaptureFixture[str]) -> None:
    """Qwen3.7-Max is served by its maker only; the open model of its class stands in, and is named."""
    words = ("--on", "al128/qwen3.7-max:tp=4,dp=16,precision=mxfp4-fp8", "--batch", "decode=10000x64")
    out = printed(capsys, *words)
    assert out["deployment"]["stands_in_for"] == "Qwen3.7-Max"
    assert out["deployment"]["chips"] == 64
    assert out["deployment"]["instances"] == 2
    assert main(["cost", *words]) == 0
    assert "stands in for Qwen3.7-Max" in capsys.readouterr().out


def test_the_text_fits_eighty_columns_and_says_what_was_guessed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person sees totals, operations and every guess, and no line is cut."""
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["cost", "--on", "al128/qwen3-235b:tp=8", "--batch", BATCH]) == 0
    text = capsys.readouterr().out
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    assert "…" not in text
    flat = " ".join(text.split())
    for said in (
        "bound by",
        "GUESS: zhenwu-m890 memory bandwidth",
        "64 joint draws",
        "--price m890=LOW..HIGH",
    ):
        assert said in flat


@pytest.mark.parametrize(
    ("on", "message"),
    [
        ("h300x8/qwen3-32b", "did you mean h200"),
        ("al129/qwen3-32b", "did you mean the rack al128"),
        ("h200x8/qwen4-32b", "did you mean qwen3-32b"),
        ("h200x8/qwen3-32b:tq=8", "no setting 'tq'"),
        ("h200x8/qwen3-32b:tp=8,tp=4", "set twice"),
        ("h200x8/qwen3-32b:tp=0", "whole number from 1"),
        ("h200x8/qwen3-32b:tp=3", "tp may be 1, 2, 4, 8, 16, 32 or 64"),
        ("h200x8/qwen3-32b:tp=16", "takes 16 chips; there are 8"),
        ("h200x3/qwen3-8b", "1 of the 3 would stand idle; name h200x2 or h200x4"),
        ("h200x5/qwen3-8b:tp=2", "1 of the 5 would stand idle; name h200x4 or h200x6"),
        ("b200/qwen3-8b:precision=mxfp4", "keeps experts alone in MXFP4, and Qwen3-8B has none"),
        ("h200x8/qwen3-32b:precision=fp4", "does not compute in fp4"),
        ("h200x8/qwen3-32b:precision=fp7", "choose one of bf16, fp8"),
        ("810e/qwen3-8b:kv=fp8", "does not keep keys and values in fp8"),
        ("h200x8", "names no model"),
        ("/qwen3-32b", "is no deployment"),
        ("h200x8/none.json", "cannot be read as a Hugging Face config.json"),
    ],
)
def test_a_deployment_that_makes_no_sense_is_refused(
    capsys: pytest.CaptureFixture[str], on: str, message: str
) -> None:
    """Whoever mistypes is told what was meant, or what there is."""
    assert message in refused(capsys, "--on", on, "--batch", "decode=100")


def test_a_model_that_cannot_fit_says_by_how_many_bytes_and_what_would(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """DeepSeek-V3 in BF16 is too large for 8 H200s, and fits in FP8, or over 16."""
    error = refused(capsys, "--on", "h200x8/deepseek-v3", "--batch", "decode=4096")
    assert "bytes)" in error
    assert "It fits with precision=fp8, or with" in error
    assert "tp=16, over 16 chips" in error
    copies = ("--on", "al128/qwen3.7-max:tp=64,precision=mxfp4-fp8", "--batch", "decode=100000x64")
    assert "It fits with tp=32,dp=2,ep=64" in refused(capsys, *copies)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ("", "is empty"),
        ("decod=1", "is no part of a batch"),
        ("decode=1x0", "N goes from 1"),
        ("prefill=0", "tokens go from 1"),
        ("decode=50000", "the window of Qwen3-32B is 40,960"),
        ("decode=99999999999", "tokens go from 1"),
    ],
)
def test_a_batch_that_makes_no_sense_is_refused(
    capsys: pytest.CaptureFixture[str], batch: str, message: str
) -> None:
    """The message shows how to write one, or which limit it is over."""
    assert message in refused(capsys, "--on", "h200x8/qwen3-32b", "--batch", batch)


@pytest.mark.parametrize("price", ["h200", "h200=3..2", "h300=1", "m890=1"])
def test_a_price_that_makes_no_sense_is_refused(capsys: pytest.CaptureFixture[str], price: str) -> None:
    """A price is a range of dollars for the chip that the deployment is of."""
    refused(capsys, "--on", "h200x8/qwen3-32b", "--batch", "decode=100", "--price", price)


def test_one_model_and_one_setting_are_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    """What stands in the deployment and beside it must agree."""
    on = ("--on", "h200x8/qwen3-32b:tp=2", "--batch", "decode=100")
    assert "names a model already" in refused(capsys, *on, "--model", "qwen3-8b")
    assert "say it once" in refused(capsys, *on, "--tp", "4")
    assert main(["cost", *on, "--tp", "2"]) == 0


def test_batches_are_read_and_written() -> None:
    """Every part of the grammar, and what a person is shown."""
    batch = parse_batch(" prefill=2048@8192x2, prefill=7 ,decode=4096+3x32,decode=9")
    assert batch == Batch(
        prefills=(Prefill(new_tokens=2048, cached_tokens=8192, count=2), Prefill(new_tokens=7)),
        decodes=(Decode(context_tokens=4096, draft_tokens=3, count=32), Decode(context_tokens=9)),
    )
    assert batch_text(batch) == (
        "2 prompts of 2,048 tokens behind 8,192 cached; 1 prompt of 7 tokens; "
        "32 decodes at 4,096 tokens with 3 drafts; 1 decode at 9 tokens"
    )


def test_what_is_left_out_of_a_deployment_is_filled_in() -> None:
    """All chips that are named; of a rack, the fewest whose memory holds the weights; experts dealt out."""
    assert parsed("h200x8/qwen3-32b").parallel == Parallel(tp=8)
    assert parsed("h200/qwen3-32b").parallel == Parallel()
    assert parsed("al128/qwen3-235b").parallel == Parallel(tp=4)  # 470 GB of weights; 139 GB a chip
    assert parsed("al128/qwen3-235b").instances == 32
    assert parsed("h200x8/deepseek-v3:dp=8").parallel == Parallel(tp=1, dp=8, ep=8)
    assert parsed("h200x8/qwen3-32b", tp="4", pp="2").parallel == Parallel(tp=4, pp=2)
    assert parsed("mi300x8/qwen3-32b").hardware.startswith("8 × AMD Instinct MI300X")
    assert parsed("h200x16/qwen3-32b").hardware == "16 × NVIDIA H200 in 2 × HGX H200 8-GPU"


def test_names_are_found_by_their_beginning_and_whatever_their_case() -> None:
    """As everywhere in the catalogue."""
    assert parsed("H200x8/Qwen3-235B").model.id == "qwen3-235b-a22b"
    with pytest.raises(NotFound, match="did you mean"):
        parsed("h200x8/qwen3-33b")
    with pytest.raises(BadRequest, match="write HARDWARE/MODEL"):
        parsed("h200x8")


@pytest.mark.parametrize(
    "on",
    [
        "v900x8/qwen3-32b:tp=8",
        "j900x8/qwen3-32b:tp=8",
        "950prx8/qwen3-32b:tp=8",
        "970x8/qwen3-32b:tp=8",
        "rtx-4090x8/qwen3-32b:tp=8",
        "v900x64/qwen3-32b:tp=64",
    ],
)
def test_chips_without_a_published_rack_are_joined_by_a_guess(
    on: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The answer is a range, names the rack as guessed, and lists what of it is."""
    assert main(["cost", "--on", on, "--batch", "decode=4096x8", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["seconds"]["low"] <= answer["seconds"]["mid"] < answer["seconds"]["high"]
    assert "(guessed)" in answer["deployment"]["hardware"]
    guessed = {figure["of"] for figure in answer["provenance"]["figures"] if figure["status"] == "estimate"}
    assert any(owner.startswith("racks/") for owner in guessed)
