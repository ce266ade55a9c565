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
from perdure.twin.validate_launch import Launch, launch_of, usual_kv
from perdure.twin.validate_rows import Layout, Row

MEAN_LENGTH = 0.9  # of the nominal one, where lengths are drawn evenly from 80 to 100 %
PREFILL_TOKENS_MAX = 8192  # that SGLang prefills in one step (`chunked_prefill_size` on these chips)
TOGETHER_TOKENS_MAX = 16384  # and where InferenceX set it
# Share of guesses that hold, each behind one that held: fitted to DeepSeek's rows with two guesses a step.
ACCEPTED = 0.5
SPECULATIVE = "sglang-speculative"
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

    decode_s   of steps that only decode, for each token of a sequence
    prefill_s  of one prompt, or what it adds to a step; prefills: how many of these fall to one token
    sequences  that decode at once on one replica
    """

    tpot_s: float
    decode_s: float
    prefill_s: float
    prefills: float
    sequences: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Served:
    """What one row's server does: its instance, how it was started, and the mean lengths of its requests."""

    row: Row
    launch: Launch
    instance: Instance
    software: Software
    prompt_tokens: int
    answer_tokens: float

    @property
    def context_tokens(self) -> float:
        """Of a sequence half-way through its answer."""
        return self.prompt_tokens + self.answer_tokens / 2

    def seconds(self, batch: Batch) -> float:
        """Of one step."""
        return self.instance.seconds(self.instance.lowering.sums(batch))

    def decode(self, decoding: float) -> Decode:
        """The sequences of a step."""
        return Decode(
            context_tokens=self.context_tokens,
            draft_tokens=self.launch.draft_tokens,
            count=max(1, round(decoding)),
        )


def predict(row: Row, software: Software | None = None, accepted: float = ACCEPTED) -> Prediction:
    """Our time per output token for `row`. `software` and `accepted` replace what was fitted."""
    launch = launch_of(row)
    instance = instance_of(
        row.model, row.precision, row.system, row.backend, row.layout, row.generation, launch.kv
    )
    efficiency = instance.efficiency
    assert isinstance(efficiency, Calibrated), "all chips of the rows were timed"
    kernels = replace(efficiency.kernels, stack="trtllm") if launch.fused_reduces else efficiency.kernels
    speculative = launch.draft_tokens > 0 and row.backend == "sglang"
    software = software or software_of(SPECULATIVE if speculative else row.generation)
    # Spent once for a sequence, however many of its tokens pass the head: those checked, and those guessed.
    software = replace(software, sequence_s=software.sequence_s / (2 * launch.draft_tokens + 1))
    instance = replace(instance, efficiency=replace(efficiency, kernels=kernels, software=software))
    scale = MEAN_LENGTH if row.lengths_vary else 1.0
    served = _Served(
        row=row,
        launch=launch,
        instance=instance,
        software=software,
        prompt_tokens=round(row.input_tokens * scale),
        answer_tokens=row.output_tokens * scale,
    )
    return _steady(served, sum(accepted**guess for guess in range(launch.draft_tokens + 1)))


def _steady(served: _Served, tokens_a_step: float) -> Prediction:
    row, answer_tokens = served.row, served.answer_tokens
    clients = row.concurrency / row.replicas
    clients = max(1.0, min(clients, _room(served.instance, served.prompt_tokens + answer_tokens)))
    decoding, rounds = clients, ROUNDS
    while True:
        step_s = served.seconds(Batch(decodes=(served.decode(decoding),)))
        alone = row.disaggregated or clients <= 1
        prefills = 0.0 if alone else _prefills(row, clients, served.prompt_tokens, answer_tokens)
        prefill_s = 0.0 if alone else _prefill_s(served, decoding, step_s, prefills)
        prediction = Prediction(
            tpot_s=step_s / tokens_a_step + prefills * prefill_s,
            decode_s=step_s / tokens_a_step,
            prefill_s=prefill_s,
            prefills=prefills,
            sequences=decoding,
        )
        rounds -= 1
        if alone or not rounds:
            return prediction
        waiting_s = prefill_s + (served.launch.receive_steps - 1) / 2 * step_s
        decoding = clients / (1 + waiting_s / (prediction.tpot_s * answer_tokens))


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


def _prefill_s(served: _Served, decoding: float, step_s: float, prefills: float) -> float:
    """Of one prompt, as one of those that came in since the server last looked."""
    if served.row.backend == "sglang":
        arrived = round(prefills * served.launch.receive_steps)
        together = max(1, min(arrived, TOGETHER_TOKENS_MAX // served.prompt_tokens))
        alone = Batch(prefills=(Prefill(new_tokens=served.prompt_tokens, count=together),))
        return served.seconds(alone) / together * served.software.prefill_times
    mixed = Batch(prefills=(Prefill(new_tokens=served.prompt_tokens),), decodes=(served.decode(decoding),))
    return max(0.0, served.seconds(mixed) - step_s) * served.software.prefill_times


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
    model: str,
    precision: str,
    system: str,
    backend: str,
    layout: Layout,
    generation: str,
    kv: str | None = None,
) -> Instance:
    """The instance that such a row ran on; its cache in `kv`, or as the stack has it unless told."""
    catalog = load_catalog()
    chip_id, rack_id = _HARDWARE[system]
    lowering = Lowering(
        model=architecture_of(catalog.model(_MODELS[model])),
        precision=precision_of(
            model, precision, kv or usual_kv(precision, backend), blackwell=not system.startswith("h")
        ),
        parallel=Parallel(tp=layout.tp, dp=layout.dp, ep=layout.ep),
    )
    hardware = Hardware(chip=catalog.chip(chip_id), rack=catalog.rack(rack_id))
    return Instance(lowering=lowering, hardware=hardware, efficiency=calibration_of(chip_id, generation))


def precision_of(model: str, precision: str, kv: str, *, blackwell: bool) -> Precision:
    """How such a checkpoint is stored and multiplied; its maker chose what the row's word leaves open.

    NVFP4 and INT4 checkpoints of mixtures keep attention in BF16.
    """
    if model == "gpt-oss-120b":
        return find_precision("mxfp4" if blackwell else "mxfp4-bf16", kv=kv)
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
