"""First tokens of closed-loop rows: how servers were set, what is simulated, and how it is scored."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from perdure.errors import CatalogBroken
from perdure.twin.validate_rows import Layout, Row
from perdure.twin.validate_twin_figures import quantile
from perdure.twin.validate_twin_rows import (
    Front,
    Setting,
    Waited,
    fronts,
    score_ttft,
    setting_of,
    settings,
    simulate_row,
    usable,
)

ROW = Row(
    id="a",
    model="Llama-3.1-8B",
    system="h200_sxm",
    backend="vllm",
    version="0.19.0",
    precision="bf16",
    precision_inferred=False,
    disaggregated=False,
    layout=Layout(tp=1, dp=1, moe_tp=1, ep=1),
    replicas=1,
    lengths_vary=True,
    input_tokens=512,
    output_tokens=32,
    concurrency=4,
    ttft_s=0.05,
    tpot_s=0.006,
)


def test_a_server_is_set_as_published_where_it_is() -> None:
    """dsr1_fp8_b200.sh: chunks of 32,768, streams of 30, a look every 10 steps; 30 from 16 clients on."""
    few = replace(ROW, model="DeepSeek-V3", backend="sglang", precision="fp8", system="b200_sxm")
    assert setting_of(few) == Setting(chunk_tokens=32768, receive_steps=10, stream_tokens=30)
    assert setting_of(replace(few, concurrency=16)).receive_steps == 30
    for other in (replace(few, backend="vllm"), replace(few, lengths_vary=False), replace(few, model="GLM")):
        assert setting_of(other) == Setting()


def test_every_generation_of_software_has_its_front() -> None:
    """Six generations, none of which makes a client wait less than nothing."""
    assert set(fronts()) == {"vllm", "vllm-2025", "trtllm", "trtllm-1.0", "sglang", "sglang-2025"}
    assert all(front.wait_s >= 0 and front.wait_steps >= 0 for front in fronts().values())


@pytest.mark.parametrize("read", [fronts, settings])
def test_a_file_of_constants_with_another_key_is_refused(
    read: Callable[[Path], object], tmp_path: Path
) -> None:
    """A typing error must not be a default."""
    path = tmp_path / "broken.toml"
    path.write_text('["vllm"]\nwait_s = 1\n')
    with pytest.raises(CatalogBroken, match=r"broken\.toml: vllm: needs"):
        read(path)


def test_a_client_waits_for_engine_front_and_tokens_streamed_at_once() -> None:
    """40 ms in the engine, 5 ms around it, and three tokens of 7 ms: 66 ms."""
    waited = Waited(engine_s=0.040, tpot_s=0.007)
    assert waited.ttft_s(Front(wait_s=0.005, wait_steps=3)) == pytest.approx(0.066)


def test_only_rows_of_one_server_with_a_first_token_are_used() -> None:
    """Disaggregated ones, those without a TTFT and those that lack something are left out."""
    broken = (
        replace(ROW, disaggregated=True),
        replace(ROW, ttft_s=0.0),
        replace(ROW, lacks="no concurrency"),
    )
    assert usable([ROW, *broken]) == [ROW]


def test_longer_prompts_and_more_clients_wait_longer() -> None:
    """Ten requests of each of four clients on an H200: a prompt of 512 tokens takes some 10 ms."""
    waited = simulate_row(ROW)
    assert 0.005 < waited.engine_s < 0.05
    assert simulate_row(replace(ROW, input_tokens=4096)).engine_s > 2 * waited.engine_s
    assert simulate_row(replace(ROW, concurrency=32)).engine_s > waited.engine_s


def test_a_score_is_the_median_of_errors_without_their_sign() -> None:
    """Rows of one setting, measured at what the twin says, half of it and twice: off by 0, 100 and 50 %."""
    said_s = simulate_row(ROW).ttft_s(fronts()[ROW.generation])
    rows = [replace(ROW, ttft_s=said_s * times) for times in (1.0, 0.5, 2.0)]
    score = score_ttft(rows)
    assert (score.rows, score.computed, score.settings) == (3, 3, 1)
    assert score.median_ape == pytest.approx(0.5)
    (group,) = score.groups
    assert (group.model, group.backend, group.bias) == ("Llama-3.1-8B", "vllm", pytest.approx(0.0))


def test_quantiles_lie_between_neighbours() -> None:
    """Of 0, 10, 20, 30 the median is 15, and nine tenths lie below 27."""
    assert quantile([30.0, 0.0, 20.0, 10.0], 0.5) == pytest.approx(15.0)
    assert quantile([30.0, 0.0, 20.0, 10.0], 0.9) == pytest.approx(27.0)
