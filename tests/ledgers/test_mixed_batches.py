"""Decodes in a step with prompts, on cards whose kernels were timed together: what the step then takes."""

import pytest

from perdure.catalog.load import load_catalog
from perdure.models.batch import Batch, Decode, Prefill
from perdure.models.cost import Instance
from perdure.models.cost_compiled import arrays_of, batch_seconds, vector_of
from perdure.models.cost_sample import Sample
from perdure.models.cost_table import Limits
from perdure.twin.deployment_text import parse_deployment

LAYERS = 32
LIMITS = Limits(tokens=512, sequences=256, context_tokens=2048)
DECODES = Decode(context_tokens=1024, count=128)


def instance(card: str) -> Instance:
    return parse_deployment(f"{card}/llama-3.1-8b", load_catalog()).instance


def sight_us(card: str, *prefills: Prefill) -> float:
    """What the 128 decodes' attention takes in one layer."""
    price = instance(card).price(Batch(prefills=prefills, decodes=(DECODES,)))
    (line,) = (line for line in price.lines if line.operation.name == "attention, decode")
    return line.spent.seconds / LAYERS * 1e6


@pytest.mark.parametrize(
    "card, alone_us, mixed_us, chunk_us",
    [("rtx-4090", 606.2, 1495.4, 15.0), ("rtx-pro-6000", 404.9, 699.0, 11.1)],
)
def test_decodes_beside_a_prompt_take_what_was_timed(
    card: str, alone_us: float, mixed_us: float, chunk_us: float
) -> None:
    """attention.csv, 128 decodes at 1,024, a chunk of 256 and both: within 20 %, as other chunks add more."""
    assert sight_us(card) == pytest.approx(alone_us, rel=0.01)
    assert sight_us(card, Prefill(new_tokens=256)) == pytest.approx(mixed_us - chunk_us, rel=0.2)


@pytest.mark.parametrize("card", ["rtx-4090", "rtx-pro-6000"])
def test_a_mixed_batch_costs_the_same_however_it_is_asked_for(card: str) -> None:
    """Plainly, from the table, compiled: within one per cent, whatever the number of decodes."""
    one = instance(card)
    table = Sample(one, LIMITS).table()
    arrays = arrays_of(table)
    for count in (1, 30, 100, 200):
        decodes = (Decode(context_tokens=900, count=count),)
        prefills = (Prefill(new_tokens=300, cached_tokens=100),)
        mixed = one.lowering.sums(Batch(prefills=prefills, decodes=decodes))
        assert table.seconds(mixed) == pytest.approx(one.seconds(mixed), rel=0.01)
        assert batch_seconds(arrays, vector_of(mixed, table)) == pytest.approx(table.seconds(mixed))


def test_a_chip_whose_kernels_were_timed_apart_adds_them_up() -> None:
    """On an H200 decodes take as long beside a prompt as alone: nothing else is known."""
    assert sight_us("h200") == sight_us("h200", Prefill(new_tokens=256))
