"""What a chunk of a prompt costs behind a cached prefix, on kernels that were timed on whole prompts."""

import pytest

from perdure.catalog.load import load_catalog
from perdure.models.batch_text import parse_batch
from perdure.twin.deployment_text import parse_deployment

DEPLOYMENTS = (
    "h200x8/qwen3-coder-480b:tp=8,precision=fp8-block",
    "b200x8/qwen3-32b:tp=8",
    "mi300x/qwen3-32b",
)


def seconds(deployment: str, batch: str) -> float:
    """The mid price of a batch."""
    instance = parse_deployment(deployment, load_catalog()).instance
    return instance.price(parse_batch(batch)).seconds.mid


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
def test_one_token_behind_a_prefix_costs_about_a_decode(deployment: str) -> None:
    """One new token reads the same keys and values whether it is called a prefill or a decode."""
    decode = seconds(deployment, "decode=30000")
    assert 0.5 * decode <= seconds(deployment, "prefill=1@30000") <= 2 * decode


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
def test_a_cached_prefix_never_costs_more_than_computing_it(deployment: str) -> None:
    """The longer the cached part of one prompt, the less its prefill costs."""
    lengths = (0, 1000, 10_000, 25_000, 29_000, 29_900, 29_999)
    prices = [seconds(deployment, f"prefill={30_000 - cached}@{cached}") for cached in lengths]
    assert prices == sorted(prices, reverse=True)


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
def test_more_new_tokens_never_cost_less(deployment: str) -> None:
    """Behind one prefix, a longer chunk costs at least as much."""
    prices = [seconds(deployment, f"prefill={new}@20000") for new in (1, 2, 8, 64, 546, 2048, 8192)]
    assert prices == sorted(prices)
