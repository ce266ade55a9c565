"""How long a token takes, by our cost model, in the steady state of a measured closed-loop run.

Every client sends its next request when its last one is answered. Each answer takes as many decode steps as
it has tokens, and while it lasts each of the other clients has one prompt prefilled: in a step of its own
(SGLang stops decoding for a prefill), or along with the decodes (vLLM, TensorRT-LLM).
"""

from dataclasses import dataclass, replace
from functools import cache

from perdure.catalog.load import load_catalog
from perdure.models.architecture import architecture_of
from perdure.models.batch import Batch, Decode, Prefill
from perdure.models.cost import Instance
from perdure.models.operations import Lowering
from perdure.models.parallel import Parallel
from perdure.models.precision import Precision, find_precision
from perdure.silicon.calibration import Calibrated, calibration_of
from perdure.silicon.calibration_software import Software, software_of
from perdure.silicon.price_machine import Hardware
from perdure.twin.validate_rows import Layout, Row

MEAN_LENGTH = 0.9  # of the nominal one, where lengths are drawn evenly from 80 to 100 %
PREFILL_TOKENS_MAX = 8192  # that SGLang prefills in one step (`chunked_prefill_size` on these chips)
ROUNDS = 2  # of the fixed point between how long an answer takes and how many decode at once

_MODELS = {
    "Llama-3.1-8B": "meta-llama-3.1-8b",
    "Llama-3.1-70B": "meta-llama-3.1-70b",
    "gpt-oss-120b": "gpt-oss-120b",
    "DeepSeek-V3": "deepseek-v3",
    "MiniMax-M2.5": "minimax-m2.5",
    "Qwen3-32B": "qwen3-32b",
    "Qwen3-235B-A22B": "qwen3-235b-a22b",
    "Qwen3.5-397B-A17B": "qwen3.5-397b-a17b",
    "Kimi-K2.5": "kimi-k2.5",
    "GLM-5": "glm-5",
}
_HARDWARE = {
    "h100_sxm": ("nvidia-h100", "hgx-h100"),
    "h200_sxm": ("nvidia-h200", "hgx-h200"),
    "b200_sxm": ("nvidia-b200", "hgx-b200"),
    "b300_sxm": ("nvidia-b300", "hgx-b300"),
    "gb200": ("nvidia-gb200", "gb200-nvl72"),
    "gb300": ("nvidia-gb300", "gb300-nvl72"),
}
# Checkpoints of these in FP8 have scales for blocks; the others one for each matrix.
_BLOCK_SCALED = ("DeepSeek-V3", "MiniMax-M2.5", "Qwen3-235B-A22B", "Qwen3.5-397B-A17B", "GLM-5")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """Seconds per output token, and what they are made of.

    decode_s   of one step that only decodes; prefill_s: of one prompt, or what it adds to a step
    prefills   how many of these fall to one token
    sequences  that decode at once on one replica
    """

    tpot_s: float
    decode_s: float
    prefill_s: float
    prefills: float
    sequences: float


def predict(row: Row, software: Software | None = None) -> Prediction:
    """Our time per output token for `row`. `software` replaces the fitted one of its stack."""
    instance = instance_of(row.model, row.precision, row.system, row.backend, row.layout, row.generation)
    if software is not None:
        assert isinstance(instance.efficiency, Calibrated), "all chips of the rows were timed"
        efficiency = replace(instance.efficiency, software=software)
        instance = replace(instance, efficiency=efficiency)
    return _steady(row, instance, software or software_of(row.generation))


def _steady(row: Row, instance: Instance, software: Software) -> Prediction:
    scale = MEAN_LENGTH if row.lengths_vary else 1.0
    prompt_tokens = round(row.input_tokens * scale)
    answer_tokens = row.output_tokens * scale
    context_tokens = prompt_tokens + answer_tokens / 2
    clients = row.concurrency / row.replicas
    clients = max(1.0, min(clients, _room(instance, context_tokens + answer_tokens / 2)))
    decoding = clients
    prediction = _alone(instance, context_tokens, decoding)
    if row.disaggregated or clients <= 1:
        return prediction
    for _ in range(ROUNDS):
        decode_s = _decode_s(instance, context_tokens, decoding)
        prefill_s = _prefill_s(row, instance, software, prompt_tokens, context_tokens, decoding, decode_s)
        prefills = _prefills(row, clients, prompt_tokens, answer_tokens)
        tpot_s = decode_s + prefills * prefill_s
        prediction = Prediction(
            tpot_s=tpot_s, decode_s=decode_s, prefill_s=prefill_s, prefills=prefills, sequences=decoding
        )
        decoding = clients * tpot_s * answer_tokens / (tpot_s * answer_tokens + prefill_s)
    return prediction


def _alone(instance: Instance, context_tokens: float, decoding: float) -> Prediction:
    decode_s = _decode_s(instance, context_tokens, decoding)
    return Prediction(tpot_s=decode_s, decode_s=decode_s, prefill_s=0.0, prefills=0.0, sequences=decoding)


def _prefills(row: Row, clients: float, prompt_tokens: float, answer_tokens: float) -> float:
    """Prompts of others that fall to one token.

    Where lengths are fixed, SGLang's clients keep step: all prompts of a wave are prefilled before any of it
    decodes, so that an answer waits, after its own prompt, for half of the chunks on average.
    """
    in_waves = row.backend == "sglang" and row.in_step
    if not in_waves:
        return (clients - 1) / answer_tokens
    chunks = -(-clients * prompt_tokens // PREFILL_TOKENS_MAX)
    return clients * (1 - 1 / chunks) / 2 / answer_tokens


def _decode_s(instance: Instance, context_tokens: float, decoding: float) -> float:
    batch = Batch(decodes=(Decode(context_tokens=context_tokens, count=max(1, round(decoding))),))
    return instance.seconds(instance.lowering.sums(batch))


def _prefill_s(
    row: Row,
    instance: Instance,
    software: Software,
    prompt_tokens: int,
    context_tokens: float,
    decoding: float,
    decode_s: float,
) -> float:
    prefill = Prefill(new_tokens=prompt_tokens)
    if row.backend == "sglang":
        alone = Batch(prefills=(prefill,))
        return instance.seconds(instance.lowering.sums(alone)) * software.prefill_times
    decode = Decode(context_tokens=context_tokens, count=max(1, round(decoding)))
    mixed = Batch(prefills=(prefill,), decodes=(decode,))
    return max(0.0, instance.seconds(instance.lowering.sums(mixed)) - decode_s) * software.prefill_times


def _room(instance: Instance, context_tokens: float) -> float:
    """Sequences that the memory has room for; further clients wait for one to end."""
    one, two = (
        instance.memory(Batch(decodes=(Decode(context_tokens=context_tokens, count=count),))).free_bytes
        for count in (instance.lowering.parallel.dp, 2 * instance.lowering.parallel.dp)
    )
    each_bytes = (one - two) / instance.lowering.parallel.dp
    return instance.lowering.parallel.dp + one / each_bytes if each_bytes > 0 else float("inf")


@cache
def instance_of(
    model: str, precision: str, system: str, backend: str, layout: Layout, generation: str
) -> Instance:
    """The instance that such a row ran on."""
    catalog = load_catalog()
    chip_id, rack_id = _HARDWARE[system]
    lowering = Lowering(
        model=architecture_of(catalog.model(_MODELS[model])),
        precision=precision_of(model, precision, backend, blackwell=not system.startswith("h")),
        parallel=Parallel(tp=layout.tp, dp=layout.dp, ep=layout.ep),
    )
    hardware = Hardware(chip=catalog.chip(chip_id), rack=catalog.rack(rack_id))
    return Instance(lowering=lowering, hardware=hardware, efficiency=calibration_of(chip_id, generation))


def precision_of(model: str, precision: str, backend: str, *, blackwell: bool) -> Precision:
    """How such a checkpoint is stored and multiplied; its maker chose what the row's word leaves open.

    NVFP4 and INT4 checkpoints of mixtures keep attention in BF16. Caches are in FP8 beside FP4 weights,
    and in TensorRT-LLM with FP8 weights too; the others keep BF16.
    """
    kv = "fp8" if precision == "fp4" or (backend == "trtllm" and precision != "bf16") else "bf16"
    if model == "gpt-oss-120b":
        return find_precision("mxfp4" if blackwell else "mxfp4-bf16")
    if precision in ("fp4", "int4") and model not in ("Llama-3.1-8B", "Llama-3.1-70B", "Qwen3-32B"):
        experts, plain = find_precision(precision), find_precision("bf16", kv=kv)
        return replace(
            plain,
            name=f"{precision} experts",
            expert_weights=experts.expert_weights,
            expert_weight_bytes=experts.expert_weight_bytes,
            expert_arithmetic=experts.expert_arithmetic,
        )
    return find_precision("fp8-block" if precision == "fp8" and model in _BLOCK_SCALED else precision, kv=kv)
