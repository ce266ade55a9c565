"""What AIConfigurator 0.12.0 itself predicts for the measured rows that we are scored on.

    python bench/aiconfigurator.py [--out build/aiconfigurator.json] [--seed 1] [--rows N] [--launches]

Needs the extra `nvidia`. Configurations are compiled once each (about a second) and then asked for all of
their rows. It gets the layouts as they ran, the newest database of its own, its own checkpoint's defaults,
and the scheduling budget that its `estimate` command uses (one prompt a mixed step). With `--launches` it is
told the caches and the speculation of InferenceX's scripts too, with our share of guesses that hold, as it
has none; that makes it a little worse.
"""

import argparse
import json
import random
import sys
import time
from collections import defaultdict
from pathlib import Path

from aiconfigurator_core.sdk import common, config
from aiconfigurator_core.sdk.backends.factory import get_backend
from aiconfigurator_core.sdk.models import get_model
from aiconfigurator_core.sdk.perf_database import get_database_view

from perdure.twin.validate_launch import Launch, launch_of
from perdure.twin.validate_predict import ACCEPTED
from perdure.twin.validate_rows import Row, read_rows, without_duplicates

SAMPLE = Path(common.__file__).parents[1] / "systems" / "silicon_sample.csv"
SAVE_EVERY = 20

# The checkpoint that it bundles for a model and precision; the rest of the settings follow from it.
CHECKPOINTS = {
    ("Llama-3.1-8B", "bf16"): "meta-llama/Meta-Llama-3.1-8B",
    ("Llama-3.1-8B", "fp8"): "meta-llama/Meta-Llama-3.1-8B",
    ("Llama-3.1-70B", "fp8"): "nvidia/Llama-3.1-70B-Instruct-FP8",
    ("Llama-3.1-70B", "fp4"): "meta-llama/Meta-Llama-3.1-70B",
    ("gpt-oss-120b", "fp4"): "openai/gpt-oss-120b",
    ("gpt-oss-120b", "fp8"): "openai/gpt-oss-120b",
    ("DeepSeek-V3", "fp8"): "deepseek-ai/DeepSeek-V3",
    ("DeepSeek-V3", "fp4"): "nvidia/DeepSeek-V3.1-NVFP4",
    ("MiniMax-M2.5", "fp8"): "MiniMaxAI/MiniMax-M2.5",
    ("MiniMax-M2.5", "fp4"): "nvidia/MiniMax-M2.5-NVFP4",
    ("Qwen3-32B", "bf16"): "Qwen/Qwen3-32B",
    ("Qwen3-32B", "fp8"): "Qwen/Qwen3-32B-FP8",
    ("Qwen3-32B", "fp4"): "Qwen/Qwen3-32B",
    ("Qwen3-235B-A22B", "fp8"): "Qwen/Qwen3-235B-A22B-FP8",
    ("Qwen3.5-397B-A17B", "bf16"): "Qwen/Qwen3.5-397B-A17B",
    ("Qwen3.5-397B-A17B", "fp8"): "Qwen/Qwen3.5-397B-A17B",
    ("Qwen3.5-397B-A17B", "fp4"): "nvidia/Qwen3.5-397B-A17B-NVFP4",
    ("Kimi-K2.5", "int4"): "moonshotai/Kimi-K2.5",
    ("Kimi-K2.5", "fp4"): "nvidia/Kimi-K2.5-NVFP4",
    ("GLM-5", "fp8"): "zai-org/GLM-5-FP8",
    ("GLM-5", "fp4"): "nvidia/GLM-5-NVFP4",
}
# Where the bundled checkpoint is not of the row's precision, the modes are given.
MODES = {
    ("Llama-3.1-8B", "fp8"): ("fp8", "fp8"),
    ("Llama-3.1-70B", "fp4"): ("nvfp4", "nvfp4"),
    ("Qwen3-32B", "fp4"): ("nvfp4", "nvfp4"),
    ("Qwen3.5-397B-A17B", "fp8"): ("fp8_block", "fp8_block"),
}
VERSIONS = {"trtllm": "1.3.0rc20", "sglang": "0.5.14", "vllm": "0.24.0"}


def main() -> int:
    """Ask for every computable row and write `{"rows": {id: {"tpot_s", "ttft_s"} or {"error"}}}`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/aiconfigurator.json"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rows", type=int, default=None)
    parser.add_argument("--launches", action="store_true")
    arguments = parser.parse_args()
    rows = [row for row in without_duplicates(read_rows(SAMPLE)) if row.lacks is None]
    random.Random(arguments.seed).shuffle(rows)
    groups: dict[tuple[object, ...], list[Row]] = defaultdict(list)
    for row in rows[: arguments.rows]:
        launch = launch_of(row) if arguments.launches else None
        groups[(row.model, row.precision, row.system, row.backend, row.layout, launch)].append(row)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    answers: dict[str, dict[str, object]] = {}
    started_s = time.monotonic()
    order = sorted(groups.items(), key=lambda pair: pair[1][0].split, reverse=True)
    for index, ((*_, launch), group) in enumerate(order):
        answers.update(ask(group, launch))
        if index % SAVE_EVERY == 0 or index == len(order) - 1:
            arguments.out.write_text(json.dumps({"version": "0.12.0", "rows": answers}, indent=0))
            print(f"{index + 1} of {len(order)} configurations, {time.monotonic() - started_s:.0f} s")
    return 0


def ask(group: list[Row], launch: Launch | None) -> dict[str, dict[str, object]]:
    """Its times per output token and to the first one for each row of a configuration, or why there are none.

    What its defaults cannot answer is asked again with BF16 attention and keys: most kernels have these.
    """
    answers = answers_of(group, launch, bf16_attention=False)
    unanswered = [row for row in group if "error" in answers[row.id]]
    if unanswered:
        again = answers_of(unanswered, launch, bf16_attention=True)
        answers.update({name: answer for name, answer in again.items() if "error" not in answer})
    return answers


def answers_of(
    group: list[Row], launch: Launch | None, *, bf16_attention: bool
) -> dict[str, dict[str, object]]:
    """One attempt at each row of a configuration."""
    try:
        predict = compiled(group[0], launch, bf16_attention=bf16_attention)
    except Exception as error:  # noqa: BLE001 - whatever it raises is its answer
        return {row.id: {"error": reason(error)} for row in group}
    answers: dict[str, dict[str, object]] = {}
    for row in group:
        try:
            answers[row.id] = dict(predict(row))
        except Exception as error:  # noqa: BLE001 - whatever it raises is its answer
            answers[row.id] = {"error": reason(error)}
    return answers


def reason(error: Exception) -> str:
    """The first line of what it said."""
    return f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"


def compiled(row: Row, launch: Launch | None, *, bf16_attention: bool):
    """A function from a row of `row`'s configuration to seconds per output token, and to the first one."""
    database = get_database_view(row.system, row.backend, VERSIONS[row.backend])
    if database is None:
        raise LookupError(f"no database for {row.system} {row.backend}")
    gemm, moe = MODES.get((row.model, row.precision), (None, None))
    layout, drafts = row.layout, launch.draft_tokens if launch else 0
    kv = "bfloat16" if bf16_attention or (launch and launch.kv == "bf16") else "fp8" if launch else None
    tokens_a_step = sum(ACCEPTED**guess for guess in range(drafts + 1))
    model = get_model(
        CHECKPOINTS[row.model, row.precision],
        config.ModelConfig(
            tp_size=layout.tp,
            attention_dp_size=layout.dp,
            moe_tp_size=layout.moe_tp,
            moe_ep_size=layout.ep,
            gemm_quant_mode=common.GEMMQuantMode[gemm] if gemm else None,
            moe_quant_mode=common.MoEQuantMode[moe] if moe else None,
            fmha_quant_mode=common.FMHAQuantMode.bfloat16 if bf16_attention else None,
            kvcache_quant_mode=common.KVCacheQuantMode[kv] if kv else None,
            nextn=drafts,
            system=row.system,
        ),
        row.backend,
    )
    backend = get_backend(row.backend)

    def predict(row: Row) -> dict[str, float]:
        batch = max(1, round(row.concurrency / row.replicas / layout.dp))
        shape = config.RuntimeConfig(batch_size=batch, isl=row.input_tokens, osl=row.output_tokens)
        if row.disaggregated:
            summary = backend.run_static(model, database, shape, "static_gen")
            latency_ms = sum(summary.get_generation_latency_dict().values())
            return {"tpot_s": latency_ms / (row.output_tokens - 1) / 1e3 / tokens_a_step}
        found = backend.run_agg(model, database, shape, ctx_tokens=row.input_tokens).get_result_dict()
        return {"tpot_s": found["tpot"] / 1e3 / tokens_a_step, "ttft_s": found["ttft"] / 1e3}

    return predict


if __name__ == "__main__":
    sys.exit(main())
