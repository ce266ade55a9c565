"""The catalogue against the tables that its figures were collected in, where they lie beside the project."""

import csv
from pathlib import Path

import pytest

from perdure.catalog.figure import Status
from perdure.catalog.load import load_catalog
from perdure.models.architecture import architecture_of
from perdure.models.precision import find_precision
from perdure.silicon.rack import scale_up_part

FACTS = Path(__file__).parents[2].parent / "shared" / "facts"
pytestmark = pytest.mark.skipif(not FACTS.is_dir(), reason="the collected facts are not at ../shared/facts")

CHIPS = {
    "Zhenwu 810E": "810e",
    "Zhenwu M890": "m890",
    "Zhenwu V900": "v900",
    "Zhenwu J900": "j900",
    "NVIDIA A800 SXM": "a800",
    "NVIDIA H20": "h20",
    "NVIDIA H100 SXM": "h100",
    "NVIDIA H200": "h200",
    "NVIDIA B200": "b200",
    "NVIDIA B300": "b300",
    "NVIDIA GB200 NVL72": "gb200",
    "NVIDIA GB300 NVL72": "gb300",
    "AMD MI300X": "mi300x",
    "AMD MI325X": "mi325x",
    "AMD MI355X": "mi355x",
    "Ascend 910B": "910b",
    "Ascend 910C": "910c",
    "Ascend 950PR": "950pr",
    "Ascend 950DT": "950dt",
    "Ascend 960": "960",
    "Ascend 970": "970",
    "Google TPU7x": "tpu-v7",
    "CPU 2-socket (EPYC 9005 class)": "cpu",
}
COLUMNS = {
    "bf16_dense_TF": ("bf16_dense_flop_per_s", 1e12),
    "fp8_dense_TF": ("fp8_dense_flop_per_s", 1e12),
    "int8_TOPS": ("int8_dense_flop_per_s", 1e12),
    "fp4_dense_TF": ("fp4_dense_flop_per_s", 1e12),
    "hbm_TBps": ("memory_bandwidth_bytes_per_s", 1e12),
    "mem_GB": ("memory_bytes", 1e9),
    "scaleup_GBps_per_dir": ("link_bytes_per_s", 1e9),
    "TDP_W": ("power_w", 1.0),
    "allin_kW_per_dev": ("all_in_power_w", 1e3),
}
# Where we state another number on purpose, and why.
APART = {
    ("m890", "mem_GB"): "what the device reports, in binary units",
    ("m890", "scaleup_GBps_per_dir"): "measured, 96 % of the published",
    ("tpu-v7", "mem_GB"): "its maker writes GiB",
    ("cpu", "hbm_TBps"): "the peak; 0.7 is what programs reach",
}
MODELS = {"Meta-Llama-3.1-8B": "llama-3.1-8b", "Meta-Llama-3.1-70B": "llama-3.1-70b"}


def rows(name: str) -> list[dict[str, str]]:
    """The table `name`, whose last column may hold commas and semicolons; none where it is not there."""
    path = FACTS / name
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("row", rows("accelerators.csv"), ids=lambda row: row["name"])
def test_a_chip_is_as_it_was_collected(row: dict[str, str]) -> None:
    """Each number of the table is ours, or lies within our range where nobody has published it."""
    name = CHIPS[row["name"]]
    chip = load_catalog().chip(name)
    for column, (figure_name, scale) in COLUMNS.items():
        if row[column] and (name, column) not in APART:
            figure = chip.figure(figure_name)
            collected = float(row[column]) * scale
            assert figure.low * 0.999 <= collected <= figure.high * 1.001, (column, figure.text)


@pytest.mark.parametrize("row", rows("accelerators.csv"), ids=lambda row: row["name"])
def test_what_was_estimated_is_a_guess_here(row: dict[str, str]) -> None:
    """A number that the table calls an estimate is never stated as a fact."""
    chip = load_catalog().chip(CHIPS[row["name"]])
    for column, figures in (
        ("status_hbm", ("memory_bandwidth_bytes_per_s",)),
        ("status_compute", ("bf16_dense_flop_per_s",)),
    ):
        if row[column].startswith(("estimate", "undisclosed")):
            for name in figures:
                assert chip.figure(name).status is Status.ESTIMATE, name


@pytest.mark.parametrize("row", rows("accelerators.csv"), ids=lambda row: row["name"])
def test_a_domain_is_as_large_as_it_was_collected(row: dict[str, str]) -> None:
    """The node or rack of a chip joins as many of them as the table says."""
    catalog = load_catalog()
    rack = catalog.node_of(catalog.chip(CHIPS[row["name"]]))
    if rack is not None and row["scaleup_domain"] and row["scaleup_domain"] != "1":
        assert scale_up_part(rack).figure("domain_chips").mid == float(row["scaleup_domain"])


@pytest.mark.parametrize("row", rows("models.csv"), ids=lambda row: row["model"])
def test_a_model_is_as_it_was_collected(row: dict[str, str]) -> None:
    """Layers, window, keys and values and states of the 26 collected models are ours."""
    entry = load_catalog().model(MODELS.get(row["model"], row["model"]))
    model = architecture_of(entry)
    assert model.layers == int(row["layers"])
    assert model.linear_attention_layers == int(row["linear_layers"]) or row["model"] == "Kimi-K3"
    assert model.window_tokens == int(row["ctx"])
    assert model.hidden_channels == int(row["hidden"])
    assert model.vocabulary_tokens == int(row["vocab"])
    assert model.tied_embeddings == (row["tie"] == "True")
    assert model.state_bytes_per_sequence == int(
        row["lin_state_bytes_per_seq"] or model.state_bytes_per_sequence
    )
    if row["kv_bytes_per_token_bf16"]:
        # The table counts keys and values of a first token, and leaves index keys out.
        index_bytes = sum(
            group.count * group.attention.index.key_bytes
            for group in model.groups
            if getattr(group.attention, "index", None)
        )
        assert model.kv_bytes(1, find_precision("bf16")) - index_bytes == int(row["kv_bytes_per_token_bf16"])
