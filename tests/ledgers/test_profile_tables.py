"""Kernel profiles of cards: what is read of them, and what the tables that we ship come to."""

import math
from pathlib import Path

import pytest

from perdure.catalog.figure import Case, Status
from perdure.catalog.load import load_catalog
from perdure.errors import BadRequest
from perdure.models.batch import Batch, Decode, Prefill
from perdure.silicon.calibration import calibration_of
from perdure.silicon.chip import chip_at
from perdure.silicon.profile import ProfiledModel, profile_records
from perdure.silicon.shapes import Attention, Gemm
from perdure.twin.deployment_text import parse_deployment

TINY = ProfiledModel(hidden=8, query_heads=2, kv_heads=1, head_channels=4, inner=16, vocabulary=32)
ROUNDING = 0.008  # half of a fiftieth of an octave


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """A profile of two sizes of everything."""
    names = ("qkv_proj", "o_proj", "gate_up_proj", "down_proj")
    rows = [f"{name},{tokens},{tokens * 2.0}" for name in names for tokens in (1, 4)]
    (tmp_path / "dense.csv").write_text("layer,tokens,time_us\n" + "\n".join(rows))
    ends = [f"{name},{count},8" for name in ("lm_head", "sampler") for count in (1, 2)]
    (tmp_path / "per_sequence.csv").write_text("layer,sequences,time_us\n" + "\n".join(ends))
    (tmp_path / "attention.csv").write_text(
        "prefill_chunk,kv_prefill,n_decode,kv_decode,time_us\n"
        "0,0,1,16,1\n0,0,1,24,9\n0,0,2,16,2\n16,0,0,0,4\n16,16,0,0,5\n32,0,0,0,8\n16,16,2,16,99\n"
    )
    return tmp_path


def test_each_kernel_becomes_a_table_named_by_its_shape(profile: Path) -> None:
    """Matrices by outputs and inputs; attention by heads, without odd sizes."""
    records = list(profile_records(profile, TINY, chip="nvidia-x", version="v"))
    axes = {f"{record['family']}/{record['variant']}": record["axes"] for record in records}
    assert axes == {
        "gemm/bf16/16x8": [[1, 4]],
        "gemm/bf16/8x8": [[1, 4]],
        "gemm/bf16/32x8": [[1, 2]],
        "gemm/bf16/8x16": [[1, 4]],
        "sampler/32": [[1, 2]],
        "attention_decode/bf16/2x1x4": [[1, 2], [16]],
        "attention_chunk/bf16/2x1x4": [[16, 32], [1, 16]],
    }


def test_decodes_beside_a_chunk_take_what_they_add_to_it(profile: Path) -> None:
    """Two beside chunks of 16: 20 - 4 and 25 - 5 us, the median 18; one hides beside a chunk, and takes 3 all
    the same, as it does alone. Of contexts, 1,024 alone."""
    with (profile / "attention.csv").open("a") as file:
        file.write("0,0,1,1024,3\n0,0,2,1024,6\n16,0,2,1024,20\n16,16,2,1024,25\n16,0,1,1024,4.5\n")
    (beside,) = (
        record
        for record in profile_records(profile, TINY, chip="nvidia-x", version="v")
        if record["family"] == "attention_beside"
    )
    assert (beside["variant"], beside["axes"]) == ("bf16/2x1x4", [[1, 2]])
    assert beside["cells"] == [round(50 * math.log2(us * 1000)) for us in (3, 18)]


def test_a_time_is_kept_in_fiftieths_of_an_octave_of_nanoseconds(profile: Path) -> None:
    """8 us are 8000 ns: 12.97 octaves, 648 steps; what was not timed is left open."""
    records = list(profile_records(profile, TINY, chip="nvidia-x", version="v"))
    cells = {record["family"]: record["cells"] for record in records}
    assert cells["sampler"] == [648, 648]
    assert cells["attention_chunk"] == [598, 614, 648, None]


@pytest.mark.parametrize(
    "name, text, why",
    [
        ("dense.csv", "layer,tokens\nx,1\n", "needs up to"),
        ("attention.csv", "prefill_chunk,kv_prefill,n_decode,kv_decode,time_us\n0,0,1,many,1\n", "a size"),
        ("per_sequence.csv", "layer,sequences,time_us\nlm_head,1,-3\n", "no time of a kernel"),
    ],
)
def test_a_profile_that_makes_no_sense_is_refused(profile: Path, name: str, text: str, why: str) -> None:
    """The message names the file and what is wrong with it."""
    (profile / name).write_text(text)
    with pytest.raises(BadRequest, match=f"{name}.*{why}"):
        list(profile_records(profile, TINY, chip="nvidia-x", version="v"))


def test_a_missing_file_is_named(profile: Path) -> None:
    """Half a profile is no profile."""
    (profile / "attention.csv").unlink()
    with pytest.raises(BadRequest, match=r"attention\.csv: no kernel timings"):
        list(profile_records(profile, TINY, chip="nvidia-x", version="v"))


def test_a_timed_product_takes_what_was_timed() -> None:
    """dense.csv of the RTX 4090: gate_up_proj of Llama-3.1-8B at 256 tokens took 378.1 us."""
    shape = Gemm(rows=256, outputs=28672, inputs=4096, weights="bf16", weight_bytes=2.0, arithmetic="bf16")
    assert seconds_of("nvidia-rtx-4090", shape) == pytest.approx(378.1e-6, rel=ROUNDING)


def test_timed_attention_takes_what_was_timed() -> None:
    """attention.csv of the RTX PRO 6000: 64 decodes at 1,024: 221.3 us; 1,024 behind 2,048: 188.1 us."""
    heads = {
        "query_heads": 32, "kv_heads": 8, "key_channels": 128, "value_channels": 128,
        "kv_channels": 2048, "kv_channel_bytes": 2.0, "arithmetic": "bf16",
    }  # fmt: skip
    decode = Attention(
        phase="decode", sequences=64, new_tokens=64, pairs=65536, context_tokens=65536, **heads
    )
    pairs = 1024 * 2048 + 1024 * 1025 / 2
    chunk = Attention(
        phase="prefill", sequences=1, new_tokens=1024, pairs=pairs, context_tokens=3072, **heads
    )
    assert seconds_of("nvidia-rtx-pro-6000", decode) == pytest.approx(221.3e-6, rel=0.01)
    assert seconds_of("nvidia-rtx-pro-6000", chunk) == pytest.approx(188.1e-6, rel=0.01)


def test_a_product_of_another_shape_is_a_range_around_its_nearest_kin() -> None:
    """Half as wide as one that was timed: half as long, give or take, and marked as an estimate."""
    efficiency, chip = calibration_of("nvidia-rtx-4090"), chip_of("nvidia-rtx-4090")
    shape = Gemm(rows=256, outputs=14336, inputs=4096, weights="bf16", weight_bytes=2.0, arithmetic="bf16")
    factor = efficiency.factor(shape, chip)
    assert factor.status is Status.ESTIMATE
    assert factor.times.low < factor.times.mid < factor.times.high
    assert seconds_of("nvidia-rtx-4090", shape) == pytest.approx(378.1e-6 / 2, rel=0.05)


def test_a_step_of_llama_on_a_card_is_the_sum_of_its_timed_kernels() -> None:
    """RTX 4090, a prompt of 2,048 tokens: 32 layers of 5.41 ms of products and 0.34 of attention, and a head.

    With elementwise kernels, which are priced by the memory's floor, 190 to 200 ms.
    """
    deployment = parse_deployment("rtx-4090/llama-3.1-8b", load_catalog())
    price = deployment.instance.price(Batch(prefills=(Prefill(new_tokens=2048),)))
    products_s = 32 * (2896.8 + 1459.5 + 631.1 + 419.5 + 335.9) * 1e-6 + 1096.9e-6
    assert price.seconds.mid == pytest.approx(products_s, rel=0.09)
    assert price.seconds.mid > products_s


def test_a_step_on_a_profiled_card_is_measured_not_guessed() -> None:
    """What Llama-3.1-8B does in BF16 on one card was all timed, so that its seconds are no range."""
    deployment = parse_deployment("rtx-pro-6000/llama-3.1-8b", load_catalog())
    price = deployment.instance.price(Batch(decodes=(Decode(context_tokens=1024, count=64),)))
    assert not price.seconds.guessed


def chip_of(chip_id: str):
    return chip_at(load_catalog().chip(chip_id), Case.MID)


def seconds_of(chip_id: str, shape: Gemm | Attention) -> float:
    """Its price on that card, without what is added to it."""
    chip = chip_of(chip_id)
    floor_s = max(
        shape.flops / chip.peak_flops_per_s(shape.arithmetic), shape.bytes_moved / chip.memory_bytes_per_s
    )
    return floor_s * calibration_of(chip_id).factor(shape, chip).times.mid
