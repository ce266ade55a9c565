"""What our own catalogue has: names, sources, guesses, prices, and precisions that chips lack."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.catalog.figure import Case, Status
from perdure.catalog.load import load_catalog
from perdure.errors import BadRequest, NotFound
from perdure.silicon.chip import chip_at


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("h200", "nvidia-h200"),
        ("nvidia-h200", "nvidia-h200"),
        ("H200", "nvidia-h200"),
        ("h20", "nvidia-h20"),
        ("m890", "zhenwu-m890"),
        ("zhenwu-m", "zhenwu-m890"),
        ("tpu", "google-tpu-v7"),
        ("910c", "ascend-910c"),
    ],
)
def test_a_chip_is_found_by_its_ids_and_by_what_only_it_begins_with(name: str, full: str) -> None:
    """A short id, a full one or the beginning of one is enough; an exact name beats a longer one."""
    assert load_catalog().chip(name).id == full


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("qwen3-235b", "qwen3-235b-a22b"),
        ("qwen3.8-2.4t-a95b", "qwen3.8-2.4t-a95b"),
        ("Qwen3.8-2.4T-A95B", "qwen3.8-2.4t-a95b"),
        ("llama-3.1-8b", "meta-llama-3.1-8b"),
        ("deepseek-v3", "deepseek-v3"),
        ("qwen3.7", "qwen3.7-max"),
        ("qwen3-coder", "qwen3-coder-480b-a35b-instruct"),
    ],
)
def test_a_model_is_found_without_vendor_and_active_parameters(name: str, full: str) -> None:
    """Vendor and active parameters need not be typed."""
    assert load_catalog().model(name).id == full


def test_several_that_fit_are_named() -> None:
    """The beginning of two names is refused with both."""
    with pytest.raises(BadRequest, match="950dt, 950pr"):
        load_catalog().chip("950")
    with pytest.raises(BadRequest, match=r"llama-3\.1-70b, llama-3\.1-8b"):
        load_catalog().model("meta-llama")
    for empty in ("", "  "):
        with pytest.raises(NotFound):
            load_catalog().chip(empty)


@given(st.text(max_size=30))
def test_any_name_finds_one_entry_or_is_refused(name: str) -> None:
    """Law: whatever is typed, the answer is an entry that it begins, or an error that says what there is."""
    try:
        found = load_catalog().chip(name)
    except (NotFound, BadRequest):
        return
    typed = name.strip().lower()
    assert found.id.startswith(typed) or found.short_id.startswith(typed)


def test_an_unknown_chip_suggests_the_nearest() -> None:
    """Whoever misspells a name is told the one that was meant."""
    with pytest.raises(NotFound, match="did you mean m890"):
        load_catalog().chip("zhenwu-m89O")
    with pytest.raises(NotFound, match="did you mean qwen3-32b"):
        load_catalog().model("qwen3-32bb")
    with pytest.raises(NotFound, match="did you mean al128"):
        load_catalog().rack("al182")


@pytest.mark.parametrize(
    ("name", "precision", "has"),
    [
        ("810e", "fp8", "bf16 or int8"),
        ("h200", "fp4", "bf16 or fp8 or int8"),
        ("910c", "fp8", "bf16 or int8"),
    ],
)
def test_a_precision_that_a_chip_lacks_is_refused(name: str, precision: str, has: str) -> None:
    """No chip is priced in arithmetic that it does not have; the message names what it has."""
    chip = chip_at(load_catalog().chip(name), Case.MID)
    with pytest.raises(BadRequest, match=f"does not compute in {precision}; .* {has}"):
        chip.peak_flops_per_s(precision)
    with pytest.raises(BadRequest, match="does not keep keys and values in fp4"):
        chip.check_kv_precision("fp4")


def test_the_j900_is_nothing_but_ranges() -> None:
    """A name on a roadmap: all of its figures are guesses whose ends differ, and so are its precisions."""
    j900 = load_catalog().chip("j900")
    assert len(j900.figures) >= 7
    for figure in j900.figures.values():
        assert figure.guessed
        assert figure.low < figure.high
    assert {names.status for names in j900.lists.values()} == {Status.ESTIMATE}
    v900 = load_catalog().chip("v900").figure("bf16_dense_flop_per_s")
    assert j900.figure("bf16_dense_flop_per_s").mid == 3 * v900.mid


def test_nothing_that_is_asked_for_is_missing() -> None:
    """Every chip, rack and model that the catalogue is meant to have is there under the id people type."""
    chips = """810e m890 v900 j900 a800 h20 h100 h200 b200 b300 gb200 gb300 rtx-4090 rtx-pro-6000 mi300x
        mi325x mi355x 910b 910c 950pr 950dt 960 970 tpu-v7 cpu"""
    racks = """al128 810e-16 hgx-a800 hgx-h20 hgx-h100 hgx-h200 hgx-b200 hgx-b300 mi300x-8 mi325x-8 mi355x-8
        gb200-nvl72 gb300-nvl72 cloudmatrix384 atlas-950 cpu-box"""
    models = """qwen3-0.6b qwen3-1.7b qwen3-8b qwen3-32b qwen3-30b qwen3-235b qwen3-coder-480b qwen3-next-80b
        qwen3.5-27b qwen3.5-35b qwen3.5-122b qwen3.5-397b qwen3.6-27b qwen3.6-35b qwen3.7-max qwen3.8-2.4t
        deepseek-v3 deepseek-v3.2 deepseek-v4-flash deepseek-v4-pro kimi-k2.5 kimi-k3 glm-5 minimax-m2.5
        gpt-oss-120b gpt-oss-20b llama-3.1-8b llama-3.1-70b"""
    catalog = load_catalog()
    for kind, names in (("chips", chips), ("racks", racks), ("models", models)):
        known = {entry.short_id for entry in catalog.entries[kind].values()}
        assert set(names.split()) <= known


def test_a_chip_without_a_public_price_has_none() -> None:
    """No rent is made up: of M890, H20 and 910C none is public; of an H200 three are, from the press."""
    rents = ("hyperscaler_usd_per_h", "neocloud_usd_per_h", "three_year_usd_per_h", "on_demand_usd_per_h")
    for name in ("810e", "m890", "v900", "j900", "h20", "910c"):
        assert not set(rents) & set(load_catalog().chip(name).figures)
    h200 = load_catalog().chip("h200")
    assert [h200.figure(name).mid for name in rents[:3]] == [1.41, 1.74, 1.60]
    assert not any(figure.guessed for name, figure in h200.figures.items() if name in rents)


def test_prices_come_in_bands_of_length() -> None:
    """Qwen3-Coder costs more a token where the prompt is longer; the bands meet without a gap."""
    bands = list(load_catalog().model("qwen3-coder-480b").parts.values())
    assert [band.figure("input_usd_per_mtok").mid for band in bands] == [1.5, 2.7, 4.5]
    for shorter, longer in pairwise(bands):
        assert shorter.figure("up_to_tokens").mid == longer.figure("over_tokens").mid


def test_every_figure_of_our_own_catalogue_has_a_source_and_every_guess_a_reason() -> None:
    """What we ship keeps the rule: facts name who says so, and only estimates are ranges."""
    entries = [entry for kind in load_catalog().entries.values() for entry in kind.values()]
    figures = [figure for entry in entries for figure in entry.figures.values()]
    assert len(figures) > 50
    for figure in figures:
        assert len(figure.source) > 10
        assert figure.low <= figure.mid <= figure.high
        assert figure.guessed or figure.low == figure.high


def test_what_the_m890_does_not_disclose_is_a_guess() -> None:
    """Bandwidth, compute, launch, power and host link of the M890 are estimates; memory and links are not."""
    m890 = load_catalog().chip("zhenwu-m890")
    guessed = {name for name, figure in m890.figures.items() if figure.guessed}
    assert guessed == {
        "memory_bandwidth_bytes_per_s",
        "bf16_dense_flop_per_s",
        "fp8_dense_flop_per_s",
        "fp4_dense_flop_per_s",
        "launch_s",
        "power_w",
        "idle_power_w",
        "host_link_bytes_per_s",
    }
