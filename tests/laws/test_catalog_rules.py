"""Which catalogue files load, and that every other one is refused with file, key and reason."""

from pathlib import Path

import pytest

from perdure.catalog.figure import Case, Status
from perdure.catalog.load import Catalog, load_catalog
from perdure.errors import CatalogBroken

CHIP = """
title = "Test chip"
maker = "Nobody"
[precisions]
names = ["bf16"]
status = "published"
source = "a datasheet"
[kv_precisions]
names = ["bf16"]
status = "published"
source = "a datasheet"
[engines]
names = ["vllm"]
status = "published"
source = "a manual"
[memory_gb]
value = 100
status = "published"
source = "a datasheet"
[memory_bandwidth_tb_per_s]
value = 2
status = "measured"
source = "a benchmark"
[launch_us]
value = 3
status = "measured"
source = "a benchmark"
"""
COMPUTE = """
[bf16_dense_tflop_per_s]
value = 500
status = "press"
source = "a newspaper"
"""
GUESS = """
fills = "chips/test"
[bf16_dense_tflop_per_s]
low = 100
mid = 200
high = 300
reason = "a relative does as much"
"""
RACK = """
title = "Test rack"
maker = "Nobody"
chip = "test"
[rack_chips]
value = 8
status = "press"
source = "a newspaper"
[node_chips]
value = 4
status = "press"
source = "a newspaper"
[links.wire]
medium = "wire"
role = "scale-up"
topology = "switch"
status = "press"
source = "a newspaper"
domain_chips = 8
software_us = 2
[links.wire.hop_ns]
value = 100
status = "measured"
source = "a stopwatch"
"""
MODEL = """
title = "Test model"
maker = "Nobody"
tied_embeddings = true
[architecture]
status = "published"
source = "config.json"
full_attention_layers = 2
hidden_channels = 8
query_heads = 2
kv_heads = 1
head_channels = 4
feed_forward_channels = 16
vocabulary_tokens = 10
window_tokens = 100
"""


def catalog_of(folder: Path, **files: str) -> Catalog:
    """The catalogue whose files are `files`: `chips__test` is chips/test.toml."""
    for name, text in files.items():
        kind, _, entry = name.partition("__")
        (folder / kind).mkdir(exist_ok=True)
        (folder / kind / f"{entry}.toml").write_text(text, encoding="utf-8")
    return load_catalog(folder)


def test_a_fact_loads_in_base_units_with_its_source(tmp_path: Path) -> None:
    """A figure keeps its status and source, and its unit is converted once."""
    chip = catalog_of(tmp_path, chips__test=CHIP + COMPUTE).chip("test")
    figure = chip.figure("memory_bandwidth_bytes_per_s")
    assert figure.mid == 2e12
    assert figure.status is Status.MEASURED
    assert figure.source == "a benchmark"
    assert figure.text == "2 TB/s"


def test_a_guess_fills_a_gap_as_a_range(tmp_path: Path) -> None:
    """A guess is an estimate with three numbers, and its best end for a rate is the high one."""
    figure = (
        catalog_of(tmp_path, chips__test=CHIP, guesses__test=GUESS)
        .chip("test")
        .figure("bf16_dense_flop_per_s")
    )
    assert figure.status is Status.ESTIMATE
    assert [figure.at(case) for case in (Case.BEST, Case.MID, Case.WORST)] == [300e12, 200e12, 100e12]


BROKEN_CHIPS = {
    "bare number": ("memory_gb = 100", "memory_gb", "bare"),
    "no unit": ('[memory]\nvalue = 1\nstatus = "press"\nsource = "x"', "memory", "no unit"),
    "unknown unit": (
        '[link_furlongs]\nvalue = 1\nstatus = "press"\nsource = "x"',
        "link_furlongs",
        "no unit",
    ),
    "no source": ('[link_gb_per_s]\nvalue = 1\nstatus = "press"', "link_gb_per_s", "no source"),
    "empty source": ('[link_gb_per_s]\nvalue = 1\nstatus = "press"\nsource = " "', "link_gb_per_s", "source"),
    "no status": ('[link_gb_per_s]\nvalue = 1\nsource = "x"', "link_gb_per_s", "no status"),
    "unknown status": (
        '[link_gb_per_s]\nvalue = 1\nstatus = "rumour"\nsource = "x"',
        "link_gb_per_s",
        "measured, published, press",
    ),
    "estimate among facts": (
        '[link_gb_per_s]\nvalue = 1\nstatus = "estimate"\nsource = "x"',
        "link_gb_per_s",
        "guesses/",
    ),
    "range among facts": (
        '[link_gb_per_s]\nlow = 1\nmid = 2\nhigh = 3\nreason = "x"',
        "link_gb_per_s",
        "guesses/",
    ),
    "negative": ('[link_gb_per_s]\nvalue = -1\nstatus = "press"\nsource = "x"', "link_gb_per_s", "negative"),
    "zero": ('[link_gb_per_s]\nvalue = 0\nstatus = "press"\nsource = "x"', "link_gb_per_s", "zero"),
    "not a number": (
        '[link_gb_per_s]\nvalue = nan\nstatus = "press"\nsource = "x"',
        "link_gb_per_s",
        "number",
    ),
    "a string": ('[link_gb_per_s]\nvalue = "1"\nstatus = "press"\nsource = "x"', "link_gb_per_s", "number"),
    "unknown key": ('[clock_ghz]\nvalue = 1\nstatus = "press"\nsource = "x"', "clock_ghz", "unknown key"),
    "misspelt key": (
        '[lnk_gb_per_s]\nvalue = 1\nstatus = "press"\nsource = "x"',
        "lnk_gb_per_s",
        "did you mean link_gb_per_s",
    ),
    "unknown key of a figure": (
        '[link_gb_per_s]\nvalue = 1\nstatus = "press"\nsource = "x"\nnote = "y"',
        "link_gb_per_s",
        "unknown key note",
    ),
    "stated in two units": (
        '[memory_gib]\nvalue = 93\nstatus = "press"\nsource = "x"',
        "memory_bytes",
        "twice",
    ),
    "precision not listed": (
        '[fp8_dense_tflop_per_s]\nvalue = 1\nstatus = "press"\nsource = "x"',
        "fp8_dense",
        "does not list fp8",
    ),
    "unknown precision": (
        '[precisions]\nnames = ["fp7"]\nstatus = "press"\nsource = "x"',
        "precisions",
        "must be some of fp32",
    ),
    "unknown engine": (
        '[engines]\nnames = ["my-engine"]\nstatus = "press"\nsource = "x"',
        "engines",
        "must be some of vllm",
    ),
    "an engine without a source": ('[engines]\nnames = ["vllm"]\nstatus = "press"', "engines", "no source"),
    "a precision twice": (
        '[precisions]\nnames = ["bf16", "bf16"]\nstatus = "press"\nsource = "x"',
        "precisions",
        "twice",
    ),
    "an unknown node": ('node = "nowhere"', "node", "racks/nowhere.toml"),
    "not TOML": ("= 3", "chips/test.toml", "not TOML"),
}


@pytest.mark.parametrize(("text", "key", "reason"), BROKEN_CHIPS.values(), ids=BROKEN_CHIPS)
def test_a_broken_fact_is_refused(tmp_path: Path, text: str, key: str, reason: str) -> None:
    """A figure without unit, source, status or sense does not load; file, key and reason are named."""
    with pytest.raises(CatalogBroken) as refusal:
        catalog_of(tmp_path, chips__test=_put(text, CHIP + COMPUTE))
    assert "chips/test.toml" in refusal.value.message
    assert key in refusal.value.message
    assert reason in refusal.value.message


BROKEN_GUESSES = {
    "nothing to fill": ("", "fills"),
    "unknown entry": (GUESS.replace("chips/test", "chips/nobody"), "chips/nobody"),
    "no reason": (GUESS.replace("reason =", "# "), "no reason"),
    "empty reason": (GUESS.replace("a relative does as much", ""), "reason"),
    "no mid": (GUESS.replace("mid = 200", ""), "no mid"),
    "out of order": (GUESS.replace("low = 100", "low = 250"), "not in order"),
    "negative": (GUESS.replace("low = 100", "low = -1"), "negative"),
    "with a status": (GUESS + 'status = "published"', "unknown key status"),
}


@pytest.mark.parametrize(("text", "reason"), BROKEN_GUESSES.values(), ids=BROKEN_GUESSES)
def test_a_broken_guess_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    """A guess has low, mid and high in order, a reason, and an entry that it fills."""
    with pytest.raises(CatalogBroken) as refusal:
        catalog_of(tmp_path, chips__test=CHIP, guesses__test=text)
    assert "guesses/test.toml" in refusal.value.message
    assert reason in refusal.value.message


def test_a_guess_never_overrules_a_fact(tmp_path: Path) -> None:
    """What the catalogue states cannot be guessed as well."""
    with pytest.raises(CatalogBroken, match="only fills a gap"):
        catalog_of(tmp_path, chips__test=CHIP + COMPUTE, guesses__test=GUESS)


def test_a_gap_that_nobody_fills_is_refused(tmp_path: Path) -> None:
    """A listed precision without a peak, as fact or guess, does not load; the message says where it goes."""
    with pytest.raises(CatalogBroken, match=r"bf16_dense_gflop_per_s: missing; .* guesses/test.toml"):
        catalog_of(tmp_path, chips__test=CHIP)


BROKEN_RACKS = {
    "no links": (RACK.partition("[links.wire]")[0], "links", "say what joins"),
    "a link without a medium": (RACK.replace('medium = "wire"\n', ""), "links.wire.medium", "missing"),
    "an unknown topology": (
        RACK.replace('topology = "switch"', 'topology = "tangle"'),
        "links.wire.topology",
        "one of switch, mesh, torus, host",
    ),
    "a link without software": (
        RACK.replace("software_us = 2\n", ""),
        "links.wire: software_s",
        "missing",
    ),
    "a bare number without a source": (
        RACK.replace('source = "a newspaper"\ndomain', "domain"),
        "links.wire.domain_chips",
        "no source",
    ),
    "an unknown key of a link": (
        RACK.replace("software_us = 2", "software_us = 2\nspeed_gb_per_s = 1"),
        "links.wire.speed_gb_per_s",
        "unknown key",
    ),
    "a negative": (RACK.replace("software_us = 2", "software_us = -2"), "links.wire.software_us", "negative"),
    "no unit": (RACK.replace("software_us", "software"), "links.wire.software", "no unit"),
}


@pytest.mark.parametrize(("text", "key", "reason"), BROKEN_RACKS.values(), ids=BROKEN_RACKS)
def test_a_broken_rack_is_refused(tmp_path: Path, text: str, key: str, reason: str) -> None:
    """A link has words, figures and sources under the same rules as everything else."""
    good = catalog_of(tmp_path, chips__test=CHIP + COMPUTE, racks__good=RACK)
    assert good.rack("good").parts["wire"].figure("hop_s").status is Status.MEASURED
    load_catalog.cache_clear()
    with pytest.raises(CatalogBroken) as refusal:
        catalog_of(tmp_path, racks__test=text)
    assert f"racks/test.toml: {key}" in refusal.value.message
    assert reason in refusal.value.message


LINK_GUESS = """
fills = "racks/test"
[links.wire.parallel_rails]
low = 1
mid = 2
high = 4
reason = "nobody says"
"""


def test_a_guess_fills_the_gap_of_a_link(tmp_path: Path) -> None:
    """A part of an entry has guesses as the entry has, and they only fill its gaps."""
    files = {"chips__test": CHIP + COMPUTE, "racks__test": RACK}
    rails = catalog_of(tmp_path, **files, guesses__test=LINK_GUESS).rack("test").parts["wire"].figures
    assert rails["parallel_rails"].status is Status.ESTIMATE
    for wrong, reason in (
        (LINK_GUESS.replace("parallel_rails", "domain_chips"), "only fills a gap"),
        (LINK_GUESS.replace("links.wire", "links.rope"), "has no such part"),
        (LINK_GUESS.replace("parallel_rails", "software_parsecs"), "no unit"),
    ):
        load_catalog.cache_clear()
        with pytest.raises(CatalogBroken, match=reason):
            catalog_of(tmp_path, guesses__test=wrong)


def test_a_guessed_list_of_precisions_needs_a_reason(tmp_path: Path) -> None:
    """What a chip computes in may be a guess too, and is marked as one."""
    chip = CHIP.replace('[precisions]\nnames = ["bf16"]\nstatus = "published"\nsource = "a datasheet"\n', "")
    guess = GUESS.replace("[bf16", '[precisions]\nnames = ["bf16"]\nreason = "as its predecessor"\n[bf16')
    entry = catalog_of(tmp_path, chips__test=chip, guesses__test=guess).chip("test")
    assert entry.lists["precisions"].status is Status.ESTIMATE
    load_catalog.cache_clear()
    with pytest.raises(CatalogBroken, match=r"guesses/test\.toml: precisions: has no reason"):
        catalog_of(tmp_path, guesses__test=guess.replace('reason = "as its predecessor"\n', ""))


def test_a_rack_of_unknown_chips_is_refused(tmp_path: Path) -> None:
    """A rack names a chip that the catalogue has."""
    with pytest.raises(CatalogBroken, match=r"chips/nobody\.toml"):
        catalog_of(tmp_path, racks__r=RACK.replace("test", "nobody"))


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (MODEL.replace('source = "config.json"', ""), "architecture"),
        (MODEL.replace('status = "published"', 'status = "estimate"'), "architecture"),
        (MODEL.replace("kv_heads = 1", "kv_heads = 1.5"), "kv_heads"),
        (MODEL.replace("kv_heads = 1", "kv_heads = -1"), "kv_heads"),
        (MODEL.replace("kv_heads = 1", ""), "kv_heads"),
        (MODEL.replace("kv_heads = 1", "kv_heads = 3"), "kv_heads"),
        (MODEL.replace("kv_heads = 1", "kv = 1"), "kv"),
        (MODEL.replace("tied_embeddings = true", ""), "tied_embeddings"),
        (MODEL.replace("tied_embeddings = true", 'tied_embeddings = "yes"'), "tied_embeddings"),
    ],
)
def test_a_broken_model_is_refused(tmp_path: Path, text: str, key: str) -> None:
    """A model's counts are whole, complete, and share a source that is stated."""
    assert catalog_of(tmp_path, models__good=MODEL).model("good").figure("kv_heads").mid == 1
    load_catalog.cache_clear()
    with pytest.raises(CatalogBroken) as refusal:
        catalog_of(tmp_path, models__test=text)
    assert f"models/test.toml: {key}" in refusal.value.message


def test_two_entries_with_one_name_are_refused(tmp_path: Path) -> None:
    """A short id belongs to one entry alone."""
    with pytest.raises(CatalogBroken, match="short_id: 'one' is also a name of models/a"):
        catalog_of(tmp_path, models__a=f'short_id = "one"\n{MODEL}', models__b=f'short_id = "one"\n{MODEL}')


def _put(text: str, chip: str) -> str:
    """`chip` with `text` added, in place of what it says under the same name where it says it."""
    name = text.partition("]")[0].strip("[") if text.startswith("[") else text.partition(" ")[0]
    _, there, rest = chip.partition(f"\n[{name}]\n")
    old = f"[{name}]\n{rest.partition(chr(10) + '[')[0]}" if there else ""
    kept = chip.replace(old, "").replace("\n\n", "\n") if old else chip
    if text.startswith("["):
        return f"{kept}\n{text}\n"
    return f"{text}\n{kept}"
