"""What a model is made of: layers, heads, experts, and how many parameters and bytes that makes.

A model is a few groups of equal layers. What a layer attends to is in `architecture_attention`, what it does
with a token by itself in `architecture_feed_forward`; `architecture` reads them from the catalogue.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from perdure.models.architecture_attention import Attention, LinearAttention
from perdure.models.architecture_feed_forward import Experts, FeedForward
from perdure.models.architecture_matrix import parameters_of
from perdure.models.precision import Precision


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """`count` equal layers."""

    count: int
    attention: Attention
    feed_forward: FeedForward

    def attention_parameters(self, hidden_channels: int) -> int:
        """Of one layer's attention, with the norm before it."""
        return (
            parameters_of(self.attention.matrices(hidden_channels))
            + self.attention.vector_parameters
            + hidden_channels
        )

    def always_on_parameters(self, hidden_channels: int) -> int:
        """What every token meets in one layer's feed-forward part, with the norm before it."""
        return self.feed_forward.always_on_parameters(hidden_channels) + hidden_channels


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """The shape of one model.

    groups            the layers that a token passes, equal ones together
    prediction        draft layers in the checkpoint: held in memory, run only by speculation
    residual_streams  copies of the hidden state that layers mix (hyper-connections, arXiv 2409.19606)
    window_tokens     the longest context
    """

    name: str
    groups: tuple[Layers, ...]
    prediction: Layers | None = None
    hidden_channels: int
    residual_streams: int = 1
    vocabulary_tokens: int
    window_tokens: int
    tied_embeddings: bool

    @property
    def layers(self) -> int:
        """Layers that a token passes through."""
        return sum(group.count for group in self.groups)

    @property
    def linear_attention_layers(self) -> int:
        """Those that keep a state instead of keys and values."""
        return sum(group.count for group in self.groups if isinstance(group.attention, LinearAttention))

    @property
    def expert_layers(self) -> int:
        """Those with routed experts."""
        return sum(group.count for group in self.groups if isinstance(group.feed_forward, Experts))

    @property
    def embedding_parameters(self) -> int:
        """One table from tokens to channels; the head at the end is a second one unless they are tied."""
        return self.vocabulary_tokens * self.hidden_channels

    @property
    def parameters(self) -> int:
        """All of them, routed experts and draft layers included."""
        return self.dense_parameters + self.routed_parameters

    @property
    def routed_parameters(self) -> int:
        """Those in routed experts, of which a token meets a few."""
        hidden = self.hidden_channels
        return sum(group.count * group.feed_forward.routed_parameters(hidden) for group in self._all_groups())

    @property
    def dense_parameters(self) -> int:
        """Those outside the routed experts."""
        embeddings = self.embedding_parameters * (1 if self.tied_embeddings else 2)
        layers = sum(self._group_parameters(group) for group in self.groups)
        streams = self.residual_streams
        joining = streams**2 * self.hidden_channels + streams + 1 if streams > 1 else 0
        return embeddings + layers + self.hidden_channels + joining + self.prediction_parameters

    @property
    def prediction_parameters(self) -> int:
        """Those of the draft layers outside their experts: layers that each join two inputs."""
        if self.prediction is None:
            return 0
        join = 2 * self.hidden_channels**2 + 3 * self.hidden_channels
        return self._group_parameters(self.prediction) + self.prediction.count * join

    @property
    def active_parameters(self) -> int:
        """Those that one token meets, both embedding tables included, draft layers not."""
        hidden = self.hidden_channels
        experts = sum(
            group.count
            * (group.feed_forward.active_parameters(hidden) - group.feed_forward.always_on_parameters(hidden))
            for group in self.groups
        )
        return self.dense_parameters - self.prediction_parameters + experts

    def kv_bytes(self, context_tokens: float, precision: Precision) -> float:
        """What one sequence of `context_tokens` keeps, its fixed state apart."""
        return sum(
            group.count * group.attention.kv_bytes(context_tokens, precision.kv_bytes)
            for group in self.groups
        )

    def kv_bytes_per_token(self, precision: Precision) -> float:
        """What one more token adds to a context beyond every sliding window."""
        far = float(2**40)
        return (self.kv_bytes(2 * far, precision) - self.kv_bytes(far, precision)) / far

    @property
    def state_bytes_per_sequence(self) -> int:
        """What one sequence keeps whatever its length: recurrent states.

        To reuse a prefix, a copy of this must have been kept at the prefix's end.
        """
        return sum(group.count * group.attention.state_bytes for group in self.groups)

    def _all_groups(self) -> Iterator[Layers]:
        yield from self.groups
        if self.prediction is not None:
            yield self.prediction

    def _group_parameters(self, group: Layers) -> int:
        """Of all layers of `group`, routed experts apart."""
        hidden = self.hidden_channels
        layer = group.attention_parameters(hidden) + group.always_on_parameters(hidden)
        return group.count * (layer + self._mixing_parameters)

    @property
    def _mixing_parameters(self) -> int:
        """What one layer needs to read from and write to its residual streams, twice."""
        streams = self.residual_streams
        if streams == 1:
            return 0
        mixes = streams * (2 + streams)
        return 2 * (streams * self.hidden_channels * mixes + mixes + 3)
