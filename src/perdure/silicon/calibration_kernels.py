"""Which measured kernel a shape is, and how long it took on one chip; None where nobody timed its like."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from perdure.silicon.calibration_table import Table, tables_of
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
_BF16_BYTES = 2.0
_LATENT_KEY_CHANNELS = 576  # of the one latent vector that all heads read in DeepSeek's attention
_HEAD_CHANNELS = (64, 128, 256)
_WINDOWS = (0, 128)
# The same links and dies on another board, where eight chips were timed together.
_SIBLINGS: Mapping[str, str] = {"nvidia-gb200": "nvidia-b200", "nvidia-gb300": "nvidia-b300"}
_NCCL_NAMES: Mapping[str, str] = {"all_to_all": "alltoall"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds of one kernel, who was timed, and how far the shape is from what was: 0 where it is the same.

    far     the distance to the nearest timed shape, in octaves
    lender  the same shape in BF16, where its kernel was timed in place of one in the format asked for
    """

    seconds: float
    table: Table
    far: float = 0.0
    lender: Gemm | None = None


@dataclass(frozen=True, slots=True)
class Kernels:
    """What was timed on `chip`; all-reduces are those of `stack`, as each brings its own."""

    chip: str
    stack: str

    @property
    def tables(self) -> Mapping[str, Table]:
        """Kernels that all stacks share."""
        return tables_of(self.chip, "any")

    def timing(self, shape: Shape) -> Timing | None:
        """The time of `shape`, or None."""
        match shape:
            case Gemm() if shape.weights in _BORROW:
                lender = replace(shape, weights="bf16", weight_bytes=_BF16_BYTES)
                timing = self._gemm(lender)
                return timing and replace(timing, lender=lender)
            case Gemm():
                return self._gemm(shape)
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

    def _first(self, family: str, variants: tuple[str, ...]) -> Table | None:
        tables = self.tables
        return next((tables[key] for v in variants if (key := f"{family}/{v}") in tables), None)

    def _gemm(self, shape: Gemm) -> Timing | None:
        if shape.copies > 1:
            ends = "mla_gen_pre" if shape.outputs >= shape.inputs else "mla_gen_post"
            table = self._first("latent_bmm", (f"{ends}/bfloat16", f"{ends}/fp8"))
            return table and Timing(seconds=table.seconds(shape.copies, shape.rows), table=table)
        table = self._first("gemm", _GEMMS.get(shape.weights, ()))
        return table and Timing(seconds=table.seconds(shape.rows, shape.outputs, shape.inputs), table=table)

    def _attention(self, shape: Attention) -> Timing | None:
        if shape.value_channels == 0:
            table = self._first("sparse_index", (shape.phase,))
            lengths = _each(shape.context_tokens if shape.phase == "decode" else shape.new_tokens, shape)
            return table and Timing(seconds=table.seconds(shape.sequences, lengths), table=table)
        if shape.key_channels == _LATENT_KEY_CHANNELS:
            return self._latent_decode(shape) if shape.phase == "decode" else None
        if shape.key_channels != shape.value_channels and shape.kv_heads == shape.query_heads:
            return self._expanded_prefill(shape)
        return self._grouped(shape)

    def _latent_decode(self, shape: Attention) -> Timing | None:
        table = self._first("latent_decode", _kv_names(shape))
        if table is None:
            return None
        sizes = (shape.query_heads, shape.sequences, _each(shape.context_tokens, shape))
        return Timing(seconds=table.seconds(*sizes), table=table)

    def _expanded_prefill(self, shape: Attention) -> Timing | None:
        table = self._first("latent_prefill", ("bfloat16", "fp8"))
        if table is None:
            return None
        seconds = table.seconds(shape.query_heads, shape.sequences, _whole_prompt(shape))
        return Timing(seconds=seconds, table=table)

    def _grouped(self, shape: Attention) -> Timing | None:
        width = _nearest(shape.key_channels, _HEAD_CHANNELS)
        window = 0 if shape.window_tokens is None else _nearest(shape.window_tokens, _WINDOWS)
        far = abs(math.log2(shape.key_channels / width))
        if shape.phase == "decode":
            names = tuple(f"{kv}/{width}/{w}" for w in (window, 0) for kv in _kv_names(shape))
            table = self._first("attention_decode", names)
            sizes = (shape.sequences * shape.kv_heads, _each(shape.context_tokens, shape))
        else:
            table = self._first("attention_prefill", tuple(f"bfloat16/{width}/{w}" for w in (window, 0)))
            length = _whole_prompt(shape) if window == 0 else _each(shape.new_tokens, shape)
            sizes = (shape.sequences * shape.query_heads, length)
        return table and Timing(seconds=table.seconds(*sizes), table=table, far=far)

    def _experts(self, shape: Experts) -> Timing | None:
        """The same mixture in the same split; else the nearest one, scaled by what it moves and computes."""
        size = f"{shape.hidden_channels}x{shape.expert_channels}x{shape.experts}x{shape.active}"
        names = _EXPERTS.get(shape.weights, ())
        table = self._first("moe", tuple(f"{n}/{size}/tp{shape.moe_tp}/ep{shape.ep}" for n in names))
        if table is not None:
            return Timing(seconds=table.seconds(shape.tokens), table=table)
        near = [(table, other) for table, other in _mixtures(self.chip) if _dtype(table) in names]
        if not near:
            return None
        table, other = min(near, key=lambda pair: _distance(pair[1], shape))
        there = _like(other, shape)
        scale = max(shape.flops / there.flops, shape.bytes_moved / there.bytes_moved)
        return Timing(seconds=table.seconds(there.tokens) * scale, table=table, far=_distance(other, shape))

    def _recurrence(self, shape: Recurrence) -> Timing | None:
        phase = "context" if shape.phase == "prefill" else "generation"
        core = self._first(f"linear_{phase}", ("recurrence",))
        taps = self._first(f"linear_{phase}", ("convolution",))
        if core is None or taps is None:
            return None
        sizes = (shape.value_heads, shape.tokens if shape.phase == "prefill" else shape.sequences)
        return Timing(seconds=core.seconds(*sizes) + taps.seconds(*sizes), table=core)

    def _message(self, shape: Message) -> Timing | None:
        name = f"{_NCCL_NAMES.get(shape.family, shape.family)}/{shape.chips}"
        for chip, far in ((self.chip, 0.0), (_SIBLINGS.get(self.chip, ""), 1.0)):
            found = [
                tables[name] for stack in (self.stack, "nccl") if name in (tables := tables_of(chip, stack))
            ]
            timings = [Timing(seconds=t.seconds(shape.message_bytes), table=t, far=far) for t in found]
            if timings:
                return min(timings, key=lambda timing: timing.seconds)
        return None


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


def _mixtures(chip: str) -> tuple[tuple[Table, Experts], ...]:
    """The timed mixtures of `chip`, as shapes of one token."""
    found: list[tuple[Table, Experts]] = []
    for table in tables_of(chip, "any").values():
        if table.family == "moe":
            _, size, tp, ep = table.variant.split("/")
            hidden, inner, experts, active = map(int, size.split("x"))
            found.append((table, _mixture(hidden, inner, experts, active, int(tp[2:]), int(ep[2:]))))
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


def _dtype(table: Table) -> str:
    return table.variant.split("/", 1)[0]
