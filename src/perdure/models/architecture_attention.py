"""How a layer looks at the tokens before its own: what weights that takes, and what it keeps of each token.

Every kind answers the same questions: its `matrices`, its `vector_parameters` (norms, sinks, decays), the
`kv_bytes` that a sequence keeps, the `state_bytes` that do not grow with it, how many tokens a query
`attends` to, and into how many parts heads let the kept bytes be cut (`kv_parts_max`).
"""

from dataclasses import dataclass
from typing import Literal

from perdure.models.architecture_compressed import COMPRESSION_STATE_BYTES, CompressedAttention
from perdure.models.architecture_latent import Indexer, LatentAttention
from perdure.models.architecture_matrix import Matrix

__all__ = [
    "COMPRESSION_STATE_BYTES",
    "STATE_BYTES",
    "Attention",
    "CompressedAttention",
    "GroupedQueryAttention",
    "Indexer",
    "LatentAttention",
    "LinearAttention",
]

STATE_BYTES = 4  # recurrent states are FP32 (`mamba_ssm_dtype`)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupedQueryAttention:
    """Heads of queries share heads of keys and values.

    sliding_window_tokens  how far it looks back; None for all the way
    query_key_norm         queries and keys are normed, head by head
    query_key_norm_joint   all heads of a token together: chips that share the heads add up what each has
    output_gate            the query projection also makes a gate of the same size
    bias                   of both matrices; query_bias of the first one alone
    sinks                  one learnt number a head, which may take attention without giving any
    """

    query_heads: int
    kv_heads: int
    head_channels: int
    sliding_window_tokens: int | None = None
    query_key_norm: bool = False
    query_key_norm_joint: bool = False
    output_gate: bool = False
    bias: bool = False
    query_bias: bool = False
    sinks: bool = False

    def matrices(self, hidden_channels: int) -> tuple[Matrix, ...]:
        """What makes queries (and their gate), keys and values; what brings the heads together again."""
        query_channels = self.query_heads * self.head_channels
        made_channels = query_channels * (2 if self.output_gate else 1)
        kv_channels = 2 * self.kv_heads * self.head_channels
        return (
            Matrix(
                name="query, key, value",
                inputs=hidden_channels,
                outputs=made_channels + kv_channels,
                bias=self.bias or self.query_bias,
            ),
            Matrix(
                name="attention output",
                inputs=query_channels,
                outputs=hidden_channels,
                cut="inputs",
                bias=self.bias,
            ),
        )

    @property
    def vector_parameters(self) -> int:
        """Norms of queries and keys, and sinks."""
        heads = self.query_heads + self.kv_heads if self.query_key_norm_joint else 2
        norms = heads * self.head_channels if self.query_key_norm else 0
        return norms + (self.query_heads if self.sinks else 0)

    @property
    def pair_channels(self) -> int:
        """Channels of a head that a query and one token meet over: for the score, and for the value."""
        return 2 * self.head_channels

    def attends(self, context_tokens: float) -> float:
        """Tokens that a query at the end of `context_tokens` meets."""
        if self.sliding_window_tokens is None:
            return context_tokens
        return min(context_tokens, self.sliding_window_tokens)

    def kv_bytes(self, context_tokens: float, value_bytes: float) -> float:
        """What a sequence of `context_tokens` keeps, at `value_bytes` a number."""
        return self.attends(context_tokens) * 2 * self.kv_heads * self.head_channels * value_bytes

    @property
    def state_bytes(self) -> int:
        """Nothing of fixed size."""
        return 0

    @property
    def kv_parts_max(self) -> int:
        """A head of keys and values is not cut; where chips outnumber heads it is copied."""
        return self.kv_heads


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearAttention:
    """A state of fixed size instead of keys and values, corrected with each token by a delta rule.

    `gated-delta` is the gated DeltaNet of the Qwen hybrids (arXiv 2412.06464): one decay a head. `kimi-delta`
    is that of Kimi Linear (arXiv 2510.26692): one decay a channel, made through a narrow pair of matrices.
    """

    rule: Literal["gated-delta", "kimi-delta"]
    key_heads: int
    value_heads: int
    head_channels: int
    convolution_tokens: int = 4

    @property
    def _key_channels(self) -> int:
        return self.key_heads * self.head_channels

    @property
    def _value_channels(self) -> int:
        return self.value_heads * self.head_channels

    def matrices(self, hidden_channels: int) -> tuple[Matrix, ...]:
        """Queries, keys, values and their gate; the decays; and what brings the heads together again."""
        keys, values = self._key_channels, self._value_channels
        output = Matrix(name="linear output", inputs=values, outputs=hidden_channels, cut="inputs")
        if self.rule == "gated-delta":
            made = 2 * keys + 2 * values + 2 * self.value_heads
            return (Matrix(name="linear input", inputs=hidden_channels, outputs=made), output)
        return (
            Matrix(name="linear input", inputs=hidden_channels, outputs=2 * keys + 2 * values),
            Matrix(
                name="decay down",
                inputs=hidden_channels,
                outputs=self.head_channels + self.value_heads,
                cut="none",
            ),
            Matrix(name="decay up", inputs=self.head_channels, outputs=values),
            output,
        )

    @property
    def vector_parameters(self) -> int:
        """The short convolution, the decays, and the norm of a head's output."""
        convolution = (2 * self._key_channels + self._value_channels) * self.convolution_tokens
        biases = self.value_heads if self.rule == "gated-delta" else self._value_channels
        return convolution + self.value_heads + biases + self.head_channels

    def attends(self, context_tokens: float) -> float:
        """No earlier token is met, only the state."""
        del context_tokens
        return 0.0

    def kv_bytes(self, context_tokens: float, value_bytes: float) -> float:
        """Nothing that grows."""
        del context_tokens, value_bytes
        return 0.0

    @property
    def state_bytes(self) -> int:
        """The recurrent state of one sequence; the convolution's few last channels are not in it."""
        return self.value_heads * self.head_channels**2 * STATE_BYTES

    @property
    def kv_parts_max(self) -> int:
        """The state is cut by its value heads."""
        return self.value_heads


Attention = GroupedQueryAttention | LatentAttention | LinearAttention | CompressedAttention
