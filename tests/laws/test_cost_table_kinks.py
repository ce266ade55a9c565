"""Whether a table follows the price where timed kernels turn or jump between the sizes that others need."""

import pytest

from perdure.catalog.load import load_catalog
from perdure.models.batch import Batch, Prefill
from perdure.models.cost_live import LiveCost
from perdure.models.cost_sample import Sample
from perdure.models.cost_table import Limits
from perdure.twin.deployment_text import parse_deployment

LIMITS = Limits(tokens=8192, sequences=16, context_tokens=131_072)
# At 1,040 tokens a product on these cards takes a tenth longer than at 1,024, and as long as at 1,056; the
# others turn from what fetching binds to what arithmetic binds.
KINKS = {
    "rtx-4090/qwen3-8b": ((1032, 0), (1040, 0), (1048, 0), (1290, 0), (1934, 0)),
    "rtx-pro-6000/qwen3-32b": ((1040, 0), (1175, 0), (1934, 0)),
    "h200x8/deepseek-v3:tp=8,precision=fp8-block": ((1734, 81_437), (4926, 72_068), (2923, 44_200)),
    "910cx8/deepseek-v3:tp=8,precision=int8": ((2923, 81_437), (4926, 44_200), (5862, 72_068)),
}


@pytest.mark.parametrize("text", KINKS)
def test_table_and_live_lookup_follow_kinks(text: str) -> None:
    """Within one per cent of the breakdown, also between two sizes where kernels change their ways."""
    instance = parse_deployment(text, load_catalog()).instance
    table = Sample(instance, LIMITS).table()
    live = LiveCost(table)
    for new, cached in KINKS[text]:
        sums = instance.lowering.sums(Batch(prefills=(Prefill(new_tokens=new, cached_tokens=cached),)))
        plain_s = instance.seconds(sums)
        assert table.seconds(sums) == pytest.approx(plain_s, rel=0.01), (new, cached)
        assert live.prefill_s(new, cached) == pytest.approx(plain_s, rel=0.01), (new, cached)
