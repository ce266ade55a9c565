"""Attention to a window of tokens, and before it to entries that each stand for several (DeepSeek-V4)."""

from dataclasses import dataclass

from perdure.models.architecture_latent import Indexer
from perdure.models.architecture_matrix import Matrix

COMPRESSION_STATE_BYTES = 4  # a compressor's running sums are FP32


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
        index_bytes = entries * self.index.entry_key_bytes if self.index else 0.0
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
