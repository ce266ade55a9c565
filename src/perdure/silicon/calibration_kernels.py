"""Which measured kernel a shape is, and how long it took on one chip; None where nobody timed its like."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache

from perdure.silicon.calibration_family import Fitted, fitted_table, keys_of
from perdure.silicon.calibration_table import Table
from perdure.silicon.shapes import Attention, Experts, Gemm, Message, Recurrence, Shape

# How tables call the formats in which weights are kept; the first one that was timed is taken.
_GEMMS: Mapping[str, tuple[str, ...]] = {
    "bf16": ("bfloat16",),
    "fp8": ("fp8_static", "fp8_block"),
    "fp8-block": ("fp8_block", "fp8_static"),
    "fp4": ("nvfp4",),
}
_EXPERTS: Mapping[str, tuple[str, ...]] = {
    "bf16": ("bfloat16",),
    "fp8": ("fp8", "fp8_block"),
    "fp8-block": ("fp8_block", "fp8"),
    "fp4": ("nvfp4",),
    "int4": ("int4_wo",),
    "mxfp4": ("w4a8_mxfp4_mxfp8", "w4a16_mxfp4"),
}
# Products whose kernels nobody timed: taken to be as far from their floor as BF16's from its own.
_BORROW = frozenset({"int4"})
_BF16_BYTES, _FP8_BYTES = 2.0, 1.0
# What was timed on a neighbour, or in a format beside the one asked for, counts as one octave away.
BORROWED_FAR = 1.0
_LATENT_KEY_CHANNELS = 576  # of the one latent vector that all heads read in DeepSeek's attention
_HEAD_CHANNELS = (64, 128, 256)
_WINDOW = 128  # a window that was timed; one far from it is attention over as many tokens
# The same links and dies on another board, where eight chips were timed together.
_SIBLINGS: Mapping[str, str] = {"nvidia-gb200": "nvidia-b200", "nvidia-gb300": "nvidia-b300"}
_NCCL_NAMES: Mapping[str, str] = {"all_to_all": "alltoall"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds of one kernel, who was timed, and how far the shape is from what was: 0 where it is the same.

    far     the distance to the nearest timed shape, in octaves
    lender  the same shape in another format, where its kernel was timed in place of one in that asked for
    lent    what those formats are, for a person
    """

    seconds: float
    table: Table
    far: float = 0.0
    lender: Gemm | Attention | None = None
    lent: str = ""


@dataclass(frozen=True, slots=True)
class Kernels:
    """What was timed on `chip`; all-reduces are those of `stack`, as each brings its own."""

    chip: str
    stack: str

    @property
    def quickest_s(self) -> float:
        """Of the smallest product that was timed: about what any kernel takes to start and end."""
        smallest = fitted_table(self.chip, "any", "gemm/bfloat16")
        return smallest.table.least_s if smallest else 0.0

    def timing(self, shape: Shape) -> Timing | None:
        """The time of `shape`, or None."""
        match shape:
            case Gemm() if shape.weights in _BORROW:
                lender = replace(shape, weights="bf16", weight_bytes=_BF16_BYTES)
                timing = self._gemm(lender)
                lent = "BF16 kernels, as none in INT4 was timed"
                return timing and replace(timing, lender=lender, lent=lent)
            case Gemm():
                return self._gemm(shape)
            case Attention() if shape.kv_channel_bytes < _FP8_BYTES:
                lender = replace(shape, kv_channel_bytes=_FP8_BYTES)
                timing = self._attention(lender)
                lent = "kernels over an FP8 cache, as none over one in FP4 was timed"
                return timing and replace(timing, lender=lender, lent=lent)
            case Attention():
                return self._attention(shape)
            case Experts():
                return self._experts(shape)
            case Recurrence():
                return self._recurrence(shape)
            case Message():
                return self._message(shape)
            case _:
                return None

    def _first(self, family: str, variants: tuple[str, ...]) -> Fitted | None:
        keys = (f"{family}/{variant}" for variant in variants)
        return next((found for key in keys if (found := fitted_table(self.chip, "any", key))), None)

    def _gemm(self, shape: Gemm) -> Timing | None:
        if shape.copies > 1:
            ends = "mla_gen_pre" if shape.outputs >= shape.inputs else "mla_gen_post"
            table = self._first("latent_bmm", (f"{ends}/bfloat16", f"{ends}/fp8"))
            return _timing(table, shape.copies, shape.rows)
        table = self._first("gemm", _GEMMS.get(shape.weights, ()))
        return _timing(table, shape.rows, shape.outputs, shape.inputs)

    def _attention(self, shape: Attention) -> Timing | None:
        if shape.value_channels == 0:
            table = self._first("sparse_index", (shape.phase,))
            lengths = _each(shape.context_tokens if shape.phase == "decode" else shape.new_tokens, shape)
            return _timing(table, shape.sequences, lengths)
        if shape.key_channels == _LATENT_KEY_CHANNELS:
            return self._latent_decode(shape) if shape.phase == "decode" else None
        if shape.key_channels != shape.value_channels and shape.kv_heads == shape.query_heads:
            return self._expanded_prefill(shape)
        return self._grouped(shape)

    def _latent_decode(self, shape: Attention) -> Timing | None:
        names = _kv_names(shape)
        table = self._first("latent_decode", names)
        sizes = (shape.query_heads, shape.sequences, _each(shape.context_tokens, shape))
        return _timing(table, *sizes, far=_beside(table, names[0]))

    def _expanded_prefill(self, shape: Attention) -> Timing | None:
        table = self._first("latent_prefill", ("bfloat16", "fp8"))
        return _timing(table, shape.query_heads, shape.sequences, _whole_prompt(shape))

    def _grouped(self, shape: Attention) -> Timing | None:
        width = _nearest(shape.key_channels, _HEAD_CHANNELS)
        window = _WINDOW if _narrow(shape.window_tokens) else 0
        far = abs(math.log2(shape.key_channels / width))
        if shape.phase == "decode":
            names = tuple(f"{kv}/{width}/{w}" for w in (window, 0) for kv in _kv_names(shape))
            table = self._first("attention_decode", names)
            sizes = (shape.sequences * shape.kv_heads, _each(shape.context_tokens, shape))
        else:
            names = tuple(f"bfloat16/{width}/{w}" for w in (window, 0))
            table = self._first("attention_prefill", names)
            length = _each(shape.new_tokens, shape) if window else _whole_prompt(shape)
            sizes = (shape.sequences * shape.query_heads, length)
        return _timing(table, *sizes, far=far + _beside(table, names[0]))

    def _experts(self, shape: Experts) -> Timing | None:
        """The same mixture in the same split; else the nearest one, in proportion to what it holds."""
        size = f"{shape.hidden_channels}x{shape.expert_channels}x{shape.experts}x{shape.active}"
        names = _EXPERTS.get(shape.weights, ())
        table = self._first("moe", tuple(f"{n}/{size}/tp{shape.moe_tp}/ep{shape.ep}" for n in names))
        if table is not None:
            # MXFP4 was timed in what a chip multiplies it in; FP8 with scales of another grain is borrowed.
            far = _beside(table, f"{names[0]}/") if names[0].startswith("fp8") else 0.0
            return _timing(table, shape.tokens, far=far)
        near = [other for other in _mixtures(self.chip) if _dtype(other[0]) in names]
        if not near:
            return None
        variant, other = min(near, key=lambda pair: _distance(pair[1], shape))
        there, far = _like(other, shape), _distance(other, shape)
        timing = _timing(self._first("moe", (variant,)), there.tokens, far=far)
        # As many tokens an expert, so products and weights differ by the same factor.
        return timing and replace(timing, seconds=timing.seconds * shape.held_bytes / there.held_bytes)

    def _recurrence(self, shape: Recurrence) -> Timing | None:
        phase = "context" if shape.phase == "prefill" else "generation"
        core = self._first(f"linear_{phase}", ("recurrence",))
        taps = self._first(f"linear_{phase}", ("convolution",))
        if core is None or taps is None:
            return None
        sizes = (shape.value_heads, shape.tokens if shape.phase == "prefill" else shape.sequences)
        timing, more = _timing(core, *sizes), _timing(taps, *sizes)
        return timing and more and replace(timing, seconds=timing.seconds + more.seconds)

    def _message(self, shape: Message) -> Timing | None:
        name = f"{_NCCL_NAMES.get(shape.family, shape.family)}/{shape.chips}"
        for chip, far in ((self.chip, 0.0), (_SIBLINGS.get(self.chip, ""), BORROWED_FAR)):
            found = (fitted_table(chip, stack, name) for stack in (self.stack, "nccl"))
            timings = [timing for one in found if (timing := _timing(one, shape.message_bytes, far=far))]
            if timings:
                return min(timings, key=lambda timing: timing.seconds)
        return None


def _timing(found: Fitted | None, *sizes: float, far: float = 0.0) -> Timing | None:
    """What a table says at `sizes`; None without a table."""
    if found is None:
        return None
    borrowed = BORROWED_FAR if found.borrowed else 0.0
    return Timing(seconds=found.table.seconds(*sizes), table=found.table, far=far + borrowed)


def _beside(found: Fitted | None, wanted: str) -> float:
    """How far a table is from the format or window that was `wanted`, where another stands for it."""
    return BORROWED_FAR if found and not found.table.variant.startswith(wanted) else 0.0


def _narrow(window_tokens: int | None) -> bool:
    """Whether a window is within an octave of the one that was timed."""
    return window_tokens is not None and window_tokens <= 2 * _WINDOW


def _kv_names(shape: Attention) -> tuple[str, ...]:
    return ("fp8", "bfloat16") if shape.kv_channel_bytes < 2 else ("bfloat16", "fp8")


def _each(tokens: float, shape: Attention) -> float:
    """Tokens of one sequence."""
    return tokens / max(shape.sequences, 1e-9)


def _whole_prompt(shape: Attention) -> float:
    """The length of the whole prompt with as many query-key pairs as the chunk of `shape` has.

    What was timed are whole prompts; behind a cached prefix a chunk meets more pairs than its length alone
    says. A kernel is as efficient as its work is large, so the chunk is timed as the prompt of equal work:
    length (length + 1) / 2 pairs. Without a prefix that is the chunk itself. That the prefix must also be
    read is in the floor, below which no price falls.
    """
    pairs = shape.pairs / max(shape.sequences, 1e-9)
    return max(_each(shape.new_tokens, shape), (math.sqrt(1.0 + 8.0 * pairs) - 1.0) / 2.0)


def _nearest(size: float, known: tuple[int, ...]) -> int:
    return min(known, key=lambda other: abs(other - size))


@cache
def _mixtures(chip: str) -> tuple[tuple[str, Experts], ...]:
    """The timed mixtures of `chip` and its neighbours by their names, as shapes of one token."""
    found: list[tuple[str, Experts]] = []
    for key in keys_of(chip, "any"):
        family, variant = key.split("/", 1)
        if family == "moe":
            _, size, tp, ep = variant.split("/")
            hidden, inner, experts, active = map(int, size.split("x"))
            found.append((variant, _mixture(hidden, inner, experts, active, int(tp[2:]), int(ep[2:]))))
    return tuple(found)


def _mixture(hidden: int, inner: int, experts: int, active: int, moe_tp: int, ep: int) -> Experts:
    return Experts(
        tokens=1,
        hidden_channels=hidden,
        expert_channels=inner,
        experts=experts,
        active=active,
        ep=ep,
        moe_tp=moe_tp,
        weights="",
        weight_bytes=1.0,
        arithmetic="",
    )


def _like(other: Experts, shape: Experts) -> Experts:
    """`other` with as many tokens an expert as `shape`, and its weights."""
    tokens = shape.tokens * (shape.active / shape.experts) / (other.active / other.experts)
    return Experts(
        tokens=tokens,
        hidden_channels=other.hidden_channels,
        expert_channels=other.expert_channels,
        experts=other.experts,
        active=other.active,
        ep=other.ep,
        moe_tp=other.moe_tp,
        weights=shape.weights,
        weight_bytes=shape.weight_bytes,
        arithmetic=shape.arithmetic,
    )


def _distance(other: Experts, shape: Experts) -> float:
    """Octaves between two mixtures: in the size of an expert, in how many are here, and in how many act."""
    return (
        abs(math.log2(other.expert_weights / shape.expert_weights))
        + abs(math.log2((other.experts / other.ep) / (shape.experts / shape.ep)))
        + abs(math.log2(other.active / shape.active))
    )


def _dtype(variant: str) -> str:
    return variant.split("/", 1)[0]
