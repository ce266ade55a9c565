"""Whether what a refusal of a deployment advises can be done."""

import pytest

from perdure.catalog.load import load_catalog
from perdure.cli.main import main
from perdure.models.precision import find_precision

CATALOG = load_catalog()


@pytest.mark.parametrize(
    ("on", "message"),
    [
        ("h200x8/qwen3-32b:tp=4,dp=2", "leave dp out and count instances instead"),
        ("h200x8/qwen3-32b:tp=4,ep=2", "no routed experts to deal out; leave ep out"),
        ("qqqq/qwen3-32b", "no chip 'qqqq' in the catalogue; choose one of mi300x"),
        ("h300x8/qwen3-32b", "in the catalogue; did you mean h200? It has mi300x"),
        ("810e/qwen3-8b:kv=fp8", "does not keep keys and values in fp8; it does in bf16 or int8"),
    ],
)
def test_a_refusal_says_what_to_change(capsys: pytest.CaptureFixture[str], on: str, message: str) -> None:
    """What was typed is what is named, in whole sentences."""
    assert main(["cost", "--on", on, "--batch", "decode=100"]) == 2
    assert message in capsys.readouterr().err


def test_an_advised_layout_is_priced(capsys: pytest.CaptureFixture[str]) -> None:
    """Qwen3.8 has 64 heads, too few for 128 chips: it is told of two stages of 64, and those run."""
    batch = ("--batch", "decode=1000x4")
    assert main(["cost", "--on", "h100/qwen3.8-2.4t", *batch]) == 2
    assert "It fits with tp=64,pp=2, over 128 chips" in capsys.readouterr().err
    assert main(["cost", "--on", "h100x128/qwen3.8-2.4t:tp=64,pp=2", *batch]) == 0


def test_no_more_chips_are_advised_than_can_be_joined(capsys: pytest.CaptureFixture[str]) -> None:
    """32 RTX 4090 would hold Qwen3-235B, and no server that we know of joins them."""
    assert main(["cost", "--on", "rtx-4090/qwen3-235b", "--batch", "decode=1"]) == 2
    assert "over 32 chips" not in capsys.readouterr().err


def test_settings_without_a_model_are_no_model(capsys: pytest.CaptureFixture[str]) -> None:
    """Who types settings behind the hardware and a model beside it is told where they belong."""
    typed = ["--on", "h200:kv=fp8", "--model", "qwen3-8b", "--batch", "decode=1"]
    assert main(["cost", *typed]) == 2
    assert "write --on h200/qwen3-8b:kv=fp8" in capsys.readouterr().err


def test_drafts_count_against_the_window(capsys: pytest.CaptureFixture[str]) -> None:
    """A decode at the last token of 40,960 has no room for four guesses behind it."""
    assert main(["cost", "--on", "h200/qwen3-8b", "--batch", "decode=40960+4"]) == 2
    assert "a context of 40,964 tokens" in capsys.readouterr().err


def test_an_offered_cache_is_priced(capsys: pytest.CaptureFixture[str]) -> None:
    """The INT8 cache that an 810E offers gets a price."""
    assert main(["cost", "--on", "810e/qwen3-8b:kv=int8", "--batch", "decode=100"]) == 0
    assert "int8 cache" in capsys.readouterr().out


def test_every_cache_that_a_refusal_offers_is_taken() -> None:
    """Whatever a chip is said to keep keys and values in can be asked for; INT8 takes 1 byte a channel."""
    chips = CATALOG.entries["chips"].values()
    offered = {kv for chip in chips for kv in chip.names("kv_precisions")}
    taken = {kv: find_precision("bf16", kv=kv).kv_bytes for kv in offered}
    assert taken == {"fp32": 4.0, "bf16": 2.0, "fp8": 1.0, "int8": 1.0, "fp4": 0.5625}
