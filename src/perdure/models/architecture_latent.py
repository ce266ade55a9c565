"""Attention whose heads share one short vector a token, and the indexer that picks among tokens."""

from dataclasses import dataclass

from perdure.models.architecture_matrix import Matrix

INDEX_SCALE_BYTES = 4  # an index key is FP8 with one FP32 scale (DeepSeek-V3.2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Indexer:
    """Picks the `top_tokens` that a query attends to, by small keys of their own (DSA of DeepSeek-V3.2)."""

    heads: int
    head_channels: int
    top_tokens: int

    @property
    def key_bytes(self) -> int:
        """One token's index key, FP8 with its scale (DeepSeek-V3.2)."""
        return self.head_channels + INDEX_SCALE_BYTES

    @property
    def entry_key_bytes(self) -> float:
        """One compressed entry's index key: MXFP4, 32 numbers to a scale of one byte (DeepSeek-V4)."""
        return self.head_channels * (0.5 + 1 / 32)


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
