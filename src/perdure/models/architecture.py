"""What a model is made of: layers, heads, experts, and how many parameters and bytes that makes.

Dense transformers with grouped-query attention, mixtures of experts, and hybrids whose linear-attention
layers (gated DeltaNet) keep a state of fixed size instead of keys and values.
"""

from dataclasses import dataclass

from perdure.catalog.entry import Entry
from perdure.models.precision import Precision

CONVOLUTION_TAPS = 4  # `linear_conv_kernel_dim` of every Qwen hybrid so far
STATE_BYTES = 4  # the recurrent state is FP32 (`mamba_ssm_dtype`)


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """The shape of one model; zero where it lacks a part.

    prediction_layers  draft layers in the checkpoint: held in memory, not run here
    output_gate        the query projection also makes a gate of the same size
    """

    name: str
    full_attention_layers: int
    linear_attention_layers: int = 0
    prediction_layers: int = 0
    hidden_channels: int
    query_heads: int
    kv_heads: int
    head_channels: int
    linear_key_heads: int = 0
    linear_value_heads: int = 0
    linear_head_channels: int = 0
    feed_forward_channels: int = 0
    routed_experts: int = 0
    active_experts: int = 0
    expert_channels: int = 0
    shared_expert_channels: int = 0
    vocabulary_tokens: int
    window_tokens: int
    tied_embeddings: bool
    query_key_norm: bool = False
    output_gate: bool = False

    @property
    def layers(self) -> int:
        """Layers that a token passes through."""
        return self.full_attention_layers + self.linear_attention_layers

    @property
    def embedding_parameters(self) -> int:
        """One table from tokens to channels; the head at the end is a second one unless they are tied."""
        return self.vocabulary_tokens * self.hidden_channels

    @property
    def query_parameters(self) -> int:
        """What makes queries (and their gate), keys and values of one full-attention layer, with norms."""
        query_channels = self.query_heads * self.head_channels * (2 if self.output_gate else 1)
        kv_channels = 2 * self.kv_heads * self.head_channels
        norms = self.hidden_channels + (2 * self.head_channels if self.query_key_norm else 0)
        return self.hidden_channels * (query_channels + kv_channels) + norms

    @property
    def output_parameters(self) -> int:
        """What brings the heads of one full-attention layer back together."""
        return self.query_heads * self.head_channels * self.hidden_channels

    @property
    def linear_input_parameters(self) -> int:
        """What makes queries, keys, values, gates and decays of one linear layer, its norms included."""
        keys = self.linear_key_heads * self.linear_head_channels
        values = self.linear_value_heads * self.linear_head_channels
        projections = self.hidden_channels * (2 * keys + 2 * values + 2 * self.linear_value_heads)
        convolution = (2 * keys + values) * CONVOLUTION_TAPS
        decays_and_norms = 2 * self.linear_value_heads + self.linear_head_channels + self.hidden_channels
        return projections + convolution + decays_and_norms

    @property
    def linear_output_parameters(self) -> int:
        """What brings the heads of one linear layer back together."""
        return self.linear_value_heads * self.linear_head_channels * self.hidden_channels

    @property
    def expert_parameters(self) -> int:
        """One routed expert: gate, up and down projection."""
        return 3 * self.hidden_channels * self.expert_channels

    @property
    def always_on_parameters(self) -> int:
        """What every token passes in one layer's feed-forward part: dense or shared expert, router, norm."""
        dense = 3 * self.hidden_channels * (self.feed_forward_channels + self.shared_expert_channels)
        router = self.hidden_channels * self.routed_experts
        shared_gate = self.hidden_channels if self.shared_expert_channels else 0
        return dense + router + shared_gate + self.hidden_channels

    @property
    def parameters(self) -> int:
        """All of them, routed experts and draft layers included."""
        return self.dense_parameters + self.routed_parameters

    @property
    def routed_parameters(self) -> int:
        """Those in routed experts, of which a token meets a few."""
        return (self.layers + self.prediction_layers) * self.routed_experts * self.expert_parameters

    @property
    def dense_parameters(self) -> int:
        """Those outside the routed experts."""
        full = self.query_parameters + self.output_parameters
        linear = self.linear_input_parameters + self.linear_output_parameters
        embeddings = self.embedding_parameters * (1 if self.tied_embeddings else 2)
        return (
            embeddings
            + self.full_attention_layers * full
            + self.linear_attention_layers * linear
            + self.layers * self.always_on_parameters
            + self.hidden_channels
            + self.prediction_parameters
        )

    @property
    def prediction_parameters(self) -> int:
        """Those of the draft layers outside their experts: a full-attention layer that joins two inputs."""
        layer = self.query_parameters + self.output_parameters + self.always_on_parameters
        join = 2 * self.hidden_channels**2 + 3 * self.hidden_channels
        return self.prediction_layers * (layer + join)

    @property
    def active_parameters(self) -> int:
        """Those that one token meets, both embedding tables included, draft layers not."""
        experts = self.layers * self.active_experts * self.expert_parameters
        return self.dense_parameters - self.prediction_parameters + experts

    def weight_bytes(self, precision: Precision) -> float:
        """All weights in memory."""
        return (
            self.dense_parameters * precision.weight_bytes
            + self.routed_parameters * precision.expert_weight_bytes
        )

    def kv_bytes_per_token(self, precision: Precision) -> float:
        """Keys and values that one token of context keeps, over all full-attention layers."""
        return self.full_attention_layers * self.layer_kv_bytes_per_token(precision)

    def layer_kv_bytes_per_token(self, precision: Precision) -> float:
        """The same, of one layer."""
        return 2 * self.kv_heads * self.head_channels * precision.kv_bytes

    @property
    def layer_state_bytes(self) -> int:
        """The recurrent state of one sequence in one linear layer, without the convolution's few channels."""
        return self.linear_value_heads * self.linear_head_channels**2 * STATE_BYTES

    @property
    def state_bytes_per_sequence(self) -> int:
        """The same, over all linear layers."""
        return self.linear_attention_layers * self.layer_state_bytes


def architecture_of(entry: Entry) -> Architecture:
    """The model that `entry` describes."""
    counts = {name: int(figure.mid) for name, figure in entry.figures.items() if name in _COUNTS}
    return Architecture(
        name=entry.title,
        tied_embeddings=entry.flag("tied_embeddings"),
        query_key_norm=entry.flag("query_key_norm"),
        output_gate=entry.flag("output_gate"),
        **counts,
    )


_COUNTS = frozenset(Architecture.__dataclass_fields__)
