"""Which operations chips are asked for, and how many FLOPs and bytes each takes at least.

A shape is what one chip does: already split over the chips that share the work. Counts may be fractions,
because a mean over sequences or experts may be. Calibration looks up a measured kernel by its shape.
"""

from dataclasses import dataclass
from typing import Literal

Family = Literal[
    "gemm",
    "head",
    "embedding",
    "elementwise",
    "attention_prefill",
    "attention_decode",
    "moe",
    "linear_attention",
    "all_reduce",
    "all_gather",
    "reduce_scatter",
    "all_to_all",
    "p2p",
]
Exchange = Literal["all_reduce", "all_gather", "reduce_scatter", "all_to_all", "p2p"]
Phase = Literal["prefill", "decode"]

ACTIVATION_BYTES = 2.0  # what goes between kernels and over links is BF16


@dataclass(frozen=True, slots=True, kw_only=True)
class Gemm:
    """`rows` times a matrix of `inputs` x `outputs`, `copies` times side by side with a matrix each.

    weights      how the matrix is stored: `bf16`, `fp8`, `fp8-block`, `int4`, ...
    arithmetic   the number format that it is multiplied in, which decides the peak
    weight_bytes of one weight, with its share of the scales
    """

    family: Literal["gemm", "head"] = "gemm"
    rows: float
    outputs: float
    inputs: float
    copies: float = 1.0
    weights: str
    weight_bytes: float
    arithmetic: str

    @property
    def flops(self) -> float:
        """Two for each weight and row."""
        return 2.0 * self.rows * self.outputs * self.inputs * self.copies

    @property
    def held_bytes(self) -> float:
        """Weights, all of which are read."""
        return self.outputs * self.inputs * self.copies * self.weight_bytes

    @property
    def bytes_moved(self) -> float:
        """Weights, what goes in, and what comes out."""
        activations = self.rows * (self.inputs + self.outputs) * self.copies
        return self.held_bytes + activations * ACTIVATION_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """Queries of `new_tokens` against what `sequences` have in their caches.

    pairs           query-key pairs: each new token counts the tokens that it sees
    context_tokens  tokens whose keys and values are read, summed over sequences
    key_channels    of one head's scores; value_channels of what it returns
    kv_channels     that one token keeps in the cache (of all KV heads here), whether or not heads share them
    kv_channel_bytes of one of those
    window_tokens   how far a token sees at most; None for all the way
    beside_prompt   whether these are decodes of a step that has prompts as well
    """

    phase: Phase
    sequences: float
    new_tokens: float
    pairs: float
    context_tokens: float
    query_heads: float
    kv_heads: float
    key_channels: float
    value_channels: float
    kv_channels: float
    kv_channel_bytes: float
    arithmetic: str
    window_tokens: int | None = None
    beside_prompt: bool = False

    @property
    def family(self) -> Literal["attention_prefill", "attention_decode"]:
        """Prefill and decode are different kernels."""
        return "attention_prefill" if self.phase == "prefill" else "attention_decode"

    @property
    def work_flops(self) -> float:
        """Of each pair: two products a head, the score and the weighted value."""
        return 2.0 * self.query_heads * (self.key_channels + self.value_channels)

    @property
    def kept_bytes(self) -> float:
        """Of each token of context."""
        return self.kv_channels * self.kv_channel_bytes

    @property
    def token_bytes(self) -> float:
        """Of each new token: queries in, results out."""
        return self.query_heads * (self.key_channels + self.value_channels) * ACTIVATION_BYTES

    @property
    def flops(self) -> float:
        """Of all pairs."""
        return self.pairs * self.work_flops

    @property
    def bytes_moved(self) -> float:
        """The cache once, queries in, and results out."""
        return self.context_tokens * self.kept_bytes + self.new_tokens * self.token_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Experts:
    """Both products of the routed experts: `tokens` choose `active` of `experts`, evenly.

    tokens  of all chips that share these experts
    ep      ways that the experts are dealt out to chips; moe_tp: ways that each one is cut
    beside_flops, beside_bytes: of kernels on another stream, which take what these leave of the chip
    """

    family: Literal["moe"] = "moe"
    tokens: float
    hidden_channels: int
    expert_channels: int
    experts: int
    active: int
    ep: int = 1
    moe_tp: int = 1
    weights: str
    weight_bytes: float
    arithmetic: str
    beside_flops: float = 0.0
    beside_bytes: float = 0.0

    @property
    def touched(self) -> float:
        """Distinct experts of this chip that the tokens meet, each choosing evenly and independently."""
        missed = (1.0 - self.active / self.experts) ** self.tokens
        return self.experts / self.ep * (1.0 - missed)

    @property
    def expert_weights(self) -> float:
        """Gate, up and down projection of this chip's part of one expert."""
        return 3.0 * self.hidden_channels * self.expert_channels / self.moe_tp

    @property
    def rows(self) -> float:
        """Pairs of a token and one of its experts that fall to this chip."""
        return self.tokens * self.active / self.ep

    @property
    def flops(self) -> float:
        """Two for each weight and row, and what runs beside."""
        return 2.0 * self.rows * self.expert_weights + self.beside_flops

    @property
    def held_bytes(self) -> float:
        """All of this chip's experts, met or not."""
        return self.experts / self.ep * self.expert_weights * self.weight_bytes

    @property
    def bytes_moved(self) -> float:
        """The experts that are met, what goes in, between the two products, and out; and what runs beside."""
        between = 3.0 * self.expert_channels / self.moe_tp
        activations = self.rows * (2.0 * self.hidden_channels + between)
        weights_bytes = self.touched * self.expert_weights * self.weight_bytes
        return weights_bytes + activations * ACTIVATION_BYTES + self.beside_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Recurrence:
    """The core of a linear-attention layer: `tokens` update and read the states of `sequences`."""

    family: Literal["linear_attention"] = "linear_attention"
    phase: Phase
    tokens: float
    sequences: float
    key_heads: float
    value_heads: float
    key_channels: int
    value_channels: int
    state_bytes: float
    arithmetic: str

    @property
    def _state_numbers(self) -> float:
        return self.value_heads * self.key_channels * self.value_channels

    @property
    def work_flops(self) -> float:
        """Of each token: three products with the state, to read, to correct, to look up."""
        return 6.0 * self._state_numbers

    @property
    def kept_bytes(self) -> float:
        """Of each sequence: its state, read and written once."""
        return 2.0 * self._state_numbers * self.state_bytes

    @property
    def token_bytes(self) -> float:
        """Of each token: queries, keys and values in, values out."""
        streams = self.key_heads * self.key_channels + self.value_heads * self.value_channels
        return 2.0 * streams * ACTIVATION_BYTES

    @property
    def flops(self) -> float:
        """Of all tokens."""
        return self.tokens * self.work_flops

    @property
    def bytes_moved(self) -> float:
        """States, and what goes in and comes out."""
        return self.sequences * self.kept_bytes + self.tokens * self.token_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Elementwise:
    """What reads and writes and hardly computes: norms, rotations, activations, routing, table look-ups."""

    family: Literal["elementwise", "embedding"] = "elementwise"
    rows: float
    bytes_moved: float
    flops: float = 0.0
    arithmetic: str = "bf16"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What `chips` neighbours exchange.

    all_reduce      every chip ends with the sum of the `message_bytes` that each held
    all_gather      every chip ends with all parts of the `message_bytes`, of which it held one
    reduce_scatter  every chip ends with its part of the sum of the `message_bytes` that each held
    all_to_all      every chip sends `message_bytes` in all, evenly to the others and itself
    p2p             one chip sends `message_bytes` to one of the next `chips`
    """

    family: Exchange
    message_bytes: float
    chips: int


Shape = Gemm | Attention | Experts | Recurrence | Elementwise | Message
Computation = Gemm | Attention | Experts | Recurrence | Elementwise
