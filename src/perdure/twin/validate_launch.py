"""How the servers of InferenceX's measured runs were started, where no column of the rows says it.

InferenceX publishes its launch scripts and settings (github.com/SemiAnalysisAI/InferenceX: `benchmarks/` and
`.github/configs/nvidia-master.yaml`, each as of the week of the runs). NVIDIA's own runs come without any.
"""

from dataclasses import dataclass

from perdure.twin.validate_rows import Row

# Servers keep a cache in BF16 unless they are told otherwise. These were told, everywhere or on Blackwell.
_FP8_CACHES = ("Llama-3.1-70B", "Qwen3.5-397B-A17B")
_FP8_CACHES_ON_BLACKWELL = ("DeepSeek-V3", "GLM-5", "gpt-oss-120b", "MiniMax-M2.5")
_BEFORE_THE_FLAG = {"MiniMax-M2.5": "0.17.0", "gpt-oss-120b": ""}
# `scheduler-recv-interval`, from so many clients on, and below.
_STEPS_BUSY, _STEPS_QUIET, _BUSY_CLIENTS = 30, 10, 16
# The settings of DeepSeek-R1 with speculation alone go up to 512 clients; this dump has the run that did.
_SPECULATIVE_RUN = "2026_03_25_deepseek_r1_b200_sxm_sglang_fp8_agg"


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What a server was told.

    kv             in what it keeps keys and values
    draft_tokens   guessed in each step by the model's own layer for it; 0 without speculation
    receive_steps  decode steps from one look at new requests to the next
    fused_reduces  whether vLLM reduces with FlashInfer's kernel, TensorRT-LLM's own (`fuse_allreduce_rms`)
    """

    kv: str
    draft_tokens: int = 0
    receive_steps: int = 1
    fused_reduces: bool = False


def launch_of(row: Row) -> Launch:
    """How the server of `row` was started."""
    return Launch(
        kv=_kv(row),
        draft_tokens=_draft_tokens(row),
        receive_steps=_receive_steps(row),
        fused_reduces=_fused_reduces(row),
    )


def usual_kv(precision: str, backend: str) -> str:
    """How a cache is kept unless the script says otherwise: checkpoints in FP4 ask for FP8.

    So do those in FP8 that TensorRT-LLM takes; the other stacks then keep BF16.
    """
    return "fp8" if precision == "fp4" or (precision == "fp8" and backend == "trtllm") else "bf16"


def _kv(row: Row) -> str:
    """What the script says, or the usual. Experts in MXFP4 ask for nothing."""
    usual = "bf16" if row.model == "gpt-oss-120b" else usual_kv(row.precision, row.backend)
    if not row.lengths_vary or row.precision in ("bf16", "int4"):
        return usual
    blackwell = row.model in _FP8_CACHES_ON_BLACKWELL and not row.system.startswith("h")
    told = row.backend == "trtllm" or row.version != _BEFORE_THE_FLAG.get(row.model)
    return "fp8" if row.model in _FP8_CACHES or (blackwell and told) else usual


def _draft_tokens(row: Row) -> int:
    """Guesses a step, by the settings that InferenceX had with speculation and never without.

    Qwen3.5 in FP8 on four chips without expert parallelism (`qwen3.5-fp8-b200-sglang-mtp`), and DeepSeek-R1
    on TensorRT-LLM 1.2.0rc6.post3 and in one run of SGLang.
    """
    if row.version == "1.2.0rc6.post3":
        return 3 if row.layout.dp == 1 else 1
    if row.id.startswith(_SPECULATIVE_RUN) and row.version == "0.5.9" and row.layout.tp == 8:
        return 2
    setting = (row.model, row.precision, row.backend, row.version, row.layout.chips, row.layout.ep)
    return 3 if setting == ("Qwen3.5-397B-A17B", "fp8", "sglang", "0.5.9", 4, 1) else 0


def _receive_steps(row: Row) -> int:
    """SGLang on Blackwell looks for new requests seldom, but with GLM-5."""
    seldom = row.backend == "sglang" and row.lengths_vary and not row.system.startswith("h")
    if not seldom or row.disaggregated or row.model == "GLM-5":
        return 1
    return _STEPS_BUSY if row.concurrency >= _BUSY_CLIENTS else _STEPS_QUIET


def _fused_reduces(row: Row) -> bool:
    """Kimi's scripts say so, and on Blackwell those of Llama and gpt-oss."""
    if row.backend != "vllm" or not row.lengths_vary:
        return False
    dense = row.model in ("Llama-3.1-70B", "gpt-oss-120b") and not row.system.startswith("h")
    return dense or row.model == "Kimi-K2.5"
