"""How a layer looks at the tokens before its own: what weights that takes, and what it keeps of each token.

Every kind answers the same questions: its `matrices`, its `vector_parameters` (norms, sinks, decays), the
`kv_bytes` that a sequence keeps, the `state_bytes` that do not grow with it, how many tokens a query
`attends` to, and into how many parts heads let the kept bytes be cut (`kv_parts_max`).
"""

from dataclasses import dataclass
from typing import Literal

from perdure.models.architecture_matrix import Matrix

STATE_BYTES = 4  # recurrent states are FP32 (`mamba_ssm_dtype`)
INDEX_SCALE_BYTES = 4  # an index key is FP8 with one FP32 scale (DeepSeek-V3.2)
COMPRESSION_STATE_BYTES = 4  # a compressor's running sums are FP32 (DeepSeek-V4)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupedQueryAttention:
    """Heads of queries share heads of keys and values.

    sliding_window_tokens  how far it looks back; None for all the way
    output_gate            the query projection also makes a gate of the same size
    sinks                  one learnt number a head, which may take attention without giving any
    """

    query_heads: int
    kv_heads: int
    head_channels: int
    sliding_window_tokens: int | None = None
    query_key_norm: bool = False
    output_gate: bool = False
    bias: bool = False
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
                bias=self.bias,
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
        norms = 2 * self.head_channels if self.query_key_norm else 0
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
class Indexer:
    """Picks the `top_tokens` that a query attends to, by small keys of their own (DSA of DeepSeek-V3.2)."""

    heads: int
    head_channels: int
    top_tokens: int

    @property
    def key_bytes(self) -> int:
        """One token's index key, FP8 with its scale."""
        return self.head_channels + INDEX_SCALE_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentAttention:
    """Keys and values of all heads are kept as one short vector (MLA of DeepSeek-V2, arXiv 2405.04434).

    rope_channels  of a key, shared by all heads, which carry the position; nope_channels do not
    index          None where every token is attended to
    """

    query_heads: int
    query_latent_channels: int
    kv_latent_channels: int
    rope_channels: int
    nope_channels: int
    value_channels: int
    output_gate: bool = False
    index: Indexer | None = None

    def matrices(self, hidden_channels: int) -> tuple[Matrix, ...]:
        """Down to the latent vectors, up to the heads, and out again; then the gate and the indexer."""
        heads, value_channels = self.query_heads, self.query_heads * self.value_channels
        down = self.query_latent_channels + self.kv_latent_channels + self.rope_channels
        made = (
            Matrix(name="query, key, value down", inputs=hidden_channels, outputs=down, cut="none"),
            Matrix(
                name="query up",
                inputs=self.query_latent_channels,
                outputs=heads * (self.nope_channels + self.rope_channels),
            ),
            Matrix(
                name="key, value up",
                inputs=self.kv_latent_channels,
                outputs=heads * (self.nope_channels + self.value_channels),
            ),
            Matrix(name="attention output", inputs=value_channels, outputs=hidden_channels, cut="inputs"),
        )
        gate = (Matrix(name="attention gate", inputs=hidden_channels, outputs=value_channels),)
        return (*made, *(gate if self.output_gate else ()), *self._index_matrices(hidden_channels))

    def _index_matrices(self, hidden_channels: int) -> tuple[Matrix, ...]:
        """The indexer's own; every chip does all of its work."""
        if self.index is None:
            return ()
        heads, channels = self.index.heads, self.index.head_channels
        return (
            Matrix(
                name="index query", inputs=self.query_latent_channels, outputs=heads * channels, cut="none"
            ),
            Matrix(name="index key, weights", inputs=hidden_channels, outputs=channels + heads, cut="none"),
        )

    @property
    def vector_parameters(self) -> int:
        """Norms of the latent vectors, and the index key's norm with its bias."""
        index = 2 * self.index.head_channels if self.index else 0
        return self.query_latent_channels + self.kv_latent_channels + index

    @property
    def pair_channels(self) -> int:
        """Channels that a query and one token meet over, as decode does it: within the latent vector.

        A prefill may make the heads' own keys and values first and needs fewer, `pair_channels_expanded`.
        """
        return 2 * self.kv_latent_channels + self.rope_channels

    @property
    def pair_channels_expanded(self) -> int:
        """Channels of one head that a query and one token meet over once keys and values are made."""
        return self.nope_channels + self.rope_channels + self.value_channels

    def attends(self, context_tokens: float) -> float:
        """Tokens that a query at the end of `context_tokens` meets; the indexer looks at all of them."""
        return min(context_tokens, self.index.top_tokens) if self.index else context_tokens

    def kv_bytes(self, context_tokens: float, value_bytes: float) -> float:
        """What a sequence keeps: one latent vector and one rotated key a token, and the index keys."""
        index_bytes = self.index.key_bytes if self.index else 0
        return context_tokens * ((self.kv_latent_channels + self.rope_channels) * value_bytes + index_bytes)

    @property
    def state_bytes(self) -> int:
        """Nothing of fixed size."""
        return 0

    @property
    def kv_parts_max(self) -> int:
        """All heads read the same vector: each chip of a tensor-parallel group keeps it whole."""
        return 1


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


@dataclass(frozen=True, slots=True, kw_only=True)
class CompressedAttention:
    """A window of tokens as they are, and before it one entry for every few tokens (DeepSeek-V4).

    Keys and values are the same vector of `head_channels`. The output goes through `output_groups` narrow
    matrices. `index` picks among the entries where they are many.
    compression_tokens  tokens to an entry; None where only the window is seen
    overlap             entries share tokens with their neighbours, which doubles what makes them
    """

    query_heads: int
    head_channels: int
    query_latent_channels: int
    output_groups: int
    output_latent_channels: int
    sliding_window_tokens: int
    compression_tokens: int | None = None
    overlap: bool = False
    index: Indexer | None = None

    def matrices(self, hidden_channels: int) -> tuple[Matrix, ...]:
        """Queries through a latent vector, the shared key and value, the grouped output; compressors."""
        channels = self.query_heads * self.head_channels
        made = (
            Matrix(
                name="query, key, value down",
                inputs=hidden_channels,
                outputs=self.query_latent_channels + self.head_channels,
                cut="none",
            ),
            Matrix(name="query up", inputs=self.query_latent_channels, outputs=channels),
            Matrix(
                name="attention output down",
                inputs=channels // self.output_groups,
                outputs=self.output_latent_channels,
                copies=self.output_groups,
            ),
            Matrix(
                name="attention output",
                inputs=self.output_groups * self.output_latent_channels,
                outputs=hidden_channels,
                cut="inputs",
            ),
        )
        return (*made, *self._compressors(hidden_channels))

    def _compressors(self, hidden_channels: int) -> tuple[Matrix, ...]:
        if self.compression_tokens is None:
            return ()
        entry = Matrix(
            name="compress",
            inputs=hidden_channels,
            outputs=2 * self._streams * self.head_channels,
            cut="none",
        )
        if self.index is None:
            return (entry,)
        heads, channels = self.index.heads, self.index.head_channels
        return (
            entry,
            Matrix(
                name="index query", inputs=self.query_latent_channels, outputs=heads * channels, cut="none"
            ),
            Matrix(
                name="index key, weights",
                inputs=hidden_channels,
                outputs=2 * self._streams * channels + heads,
                cut="none",
            ),
        )

    @property
    def _streams(self) -> int:
        return 2 if self.overlap else 1

    @property
    def _compressed_channels(self) -> int:
        """Of one entry and its index key."""
        return self.head_channels + (self.index.head_channels if self.index else 0)

    @property
    def vector_parameters(self) -> int:
        """Norms, sinks, and for each compressor its norm and positions."""
        plain = self.query_latent_channels + self.head_channels + self.query_heads
        if self.compression_tokens is None:
            return plain
        return plain + self._compressed_channels * (1 + self.compression_tokens * self._streams)

    @property
    def pair_channels(self) -> int:
        """Channels of a head that a query and one entry meet over: for the score, and for the value."""
        return 2 * self.head_channels

    def attends(self, context_tokens: float) -> float:
        """The window, and the entries before it: all of them, or those that the indexer picks."""
        window = min(context_tokens, self.sliding_window_tokens)
        if self.compression_tokens is None:
            return window
        entries = context_tokens / self.compression_tokens
        return window + (min(entries, self.index.top_tokens) if self.index else entries)

    def kv_bytes(self, context_tokens: float, value_bytes: float) -> float:
        """The window's vectors, one vector for each entry, and the entries' index keys."""
        window = min(context_tokens, self.sliding_window_tokens)
        if self.compression_tokens is None:
            return window * self.head_channels * value_bytes
        entries = context_tokens / self.compression_tokens
        index_bytes = entries * self.index.key_bytes if self.index else 0.0
        return (window + entries) * self.head_channels * value_bytes + index_bytes

    @property
    def state_bytes(self) -> int:
        """The compressors' running sums, keys and weights of the entry that is being made."""
        tokens = self.compression_tokens or 0
        return 2 * tokens * self._streams * self._compressed_channels * COMPRESSION_STATE_BYTES

    @property
    def kv_parts_max(self) -> int:
        """All heads read the same vector."""
        return 1


Attention = GroupedQueryAttention | LatentAttention | LinearAttention | CompressedAttention
