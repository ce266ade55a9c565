"""Which layers a catalogue entry, or an imported config.json, describes."""

from collections.abc import Mapping
from typing import Literal

from perdure.catalog.entry import Entry
from perdure.errors import BadRequest
from perdure.models.architecture_attention import (
    Attention,
    CompressedAttention,
    GroupedQueryAttention,
    Indexer,
    LatentAttention,
    LinearAttention,
)
from perdure.models.architecture_feed_forward import Dense, Experts, FeedForward
from perdure.models.architecture_shape import Architecture, Layers

__all__ = ["Architecture", "Layers", "architecture_of"]

RULES: Mapping[str, Literal["gated-delta", "kimi-delta"]] = {
    "gated-delta": "gated-delta",
    "kimi-delta": "kimi-delta",
}


def architecture_of(entry: Entry) -> Architecture:
    """The model that `entry` describes; raises BadRequest for one whose weights nobody publishes."""
    if entry.text("stand_in"):
        raise BadRequest(
            f"{entry.title} is served by its maker only and its shape is not published; "
            f"use its stand-in, {entry.text('stand_in')}",
            param="model",
        )
    counts = _Counts({name: int(figure.mid) for name, figure in entry.figures.items()})
    attentions = _attentions(entry, counts)
    return Architecture(
        name=entry.title,
        groups=tuple(_groups(attentions, counts["dense_layers"], _dense(counts), _experts(entry, counts))),
        prediction=_prediction(entry, counts, attentions),
        hidden_channels=counts["hidden_channels"],
        residual_streams=counts["residual_streams"] or 1,
        vocabulary_tokens=counts["vocabulary_tokens"],
        window_tokens=counts["window_tokens"],
        tied_embeddings=entry.flag("tied_embeddings"),
    )


class _Counts(dict[str, int]):
    """An entry's figures as whole numbers; zero for what the model lacks."""

    def __missing__(self, name: str) -> int:
        del name
        return 0


def _attentions(entry: Entry, counts: _Counts) -> list[tuple[int, Attention]]:
    """How many layers attend in which way, in the order in which leading dense layers are taken from them."""
    found: list[tuple[int, Attention]] = []
    if layers := counts["linear_attention_layers"]:
        found.append((layers, _linear(entry, counts)))
    if layers := counts["window_only_layers"]:
        found.append((layers, _compressed(counts, tokens=None)))
    if layers := counts["heavy_compression_layers"]:
        found.append((layers, _compressed(counts, tokens=counts["heavy_compression_tokens"])))
    if layers := counts["light_compression_layers"]:
        found.append((layers, _compressed(counts, tokens=counts["light_compression_tokens"], indexed=True)))
    if layers := counts["sliding_attention_layers"]:
        found.append((layers, _grouped(entry, counts, counts["sliding_window_tokens"])))
    if layers := counts["full_attention_layers"]:
        latent = counts["kv_latent_channels"] > 0
        found.append((layers, _latent(entry, counts) if latent else _grouped(entry, counts, None)))
    return found


def _groups(
    attentions: list[tuple[int, Attention]], dense_layers: int, dense: Dense | None, experts: Experts | None
) -> list[Layers]:
    """Groups of equal layers. A model with experts may begin with `dense_layers` that have none."""
    groups: list[Layers] = []
    left = dense_layers if experts else sum(layers for layers, _ in attentions)
    for layers, attention in attentions:
        first = min(left, layers)
        left -= first
        if first and dense:
            groups.append(Layers(count=first, attention=attention, feed_forward=dense))
        if layers > first and experts:
            groups.append(Layers(count=layers - first, attention=attention, feed_forward=experts))
    return groups


def _prediction(entry: Entry, counts: _Counts, attentions: list[tuple[int, Attention]]) -> Layers | None:
    """Draft layers attend as the model's last kind of layer does, but never to compressed entries."""
    layers = counts["prediction_layers"]
    if layers == 0:
        return None
    feed_forward: FeedForward | None = _experts(entry, counts) or _dense(counts)
    assert feed_forward is not None, "the catalogue refuses a model without a feed-forward part"
    compressed = counts["heavy_compression_layers"] > 0
    attention = _compressed(counts, tokens=None) if compressed else attentions[-1][1]
    return Layers(count=layers, attention=attention, feed_forward=feed_forward)


def _dense(counts: _Counts) -> Dense | None:
    return Dense(channels=counts["feed_forward_channels"]) if counts["feed_forward_channels"] else None


def _experts(entry: Entry, counts: _Counts) -> Experts | None:
    if counts["routed_experts"] == 0:
        return None
    return Experts(
        routed=counts["routed_experts"],
        active=counts["active_experts"],
        channels=counts["expert_channels"],
        shared_channels=counts["shared_expert_channels"],
        shared_gate=entry.flag("shared_expert_gate"),
        router_bias=entry.flag("router_bias"),
        bias=entry.flag("expert_bias"),
        input_channels=counts["expert_input_channels"] or None,
    )


def _grouped(entry: Entry, counts: _Counts, sliding_window_tokens: int | None) -> GroupedQueryAttention:
    return GroupedQueryAttention(
        query_heads=counts["query_heads"],
        kv_heads=counts["kv_heads"],
        head_channels=counts["head_channels"],
        sliding_window_tokens=sliding_window_tokens,
        query_key_norm=entry.flag("query_key_norm"),
        query_key_norm_joint=entry.flag("query_key_norm_joint"),
        output_gate=entry.flag("output_gate"),
        bias=entry.flag("attention_bias"),
        query_bias=entry.flag("query_bias"),
        sinks=entry.flag("attention_sinks"),
    )


def _latent(entry: Entry, counts: _Counts) -> LatentAttention:
    return LatentAttention(
        query_heads=counts["query_heads"],
        query_latent_channels=counts["query_latent_channels"],
        kv_latent_channels=counts["kv_latent_channels"],
        rope_channels=counts["rope_channels"],
        nope_channels=counts["nope_channels"],
        value_channels=counts["value_channels"],
        output_gate=entry.flag("output_gate"),
        index=_indexer(counts),
    )


def _linear(entry: Entry, counts: _Counts) -> LinearAttention:
    return LinearAttention(
        rule=RULES[entry.text("linear_rule") or "gated-delta"],
        key_heads=counts["linear_key_heads"],
        value_heads=counts["linear_value_heads"],
        head_channels=counts["linear_head_channels"],
        convolution_tokens=counts["linear_convolution_tokens"] or 4,
    )


def _compressed(counts: _Counts, *, tokens: int | None, indexed: bool = False) -> CompressedAttention:
    return CompressedAttention(
        query_heads=counts["query_heads"],
        head_channels=counts["head_channels"],
        query_latent_channels=counts["query_latent_channels"],
        output_groups=counts["output_groups"],
        output_latent_channels=counts["output_latent_channels"],
        sliding_window_tokens=counts["sliding_window_tokens"],
        compression_tokens=tokens,
        overlap=indexed,
        index=_indexer(counts) if indexed else None,
    )


def _indexer(counts: _Counts) -> Indexer | None:
    if counts["index_heads"] == 0:
        return None
    return Indexer(
        heads=counts["index_heads"],
        head_channels=counts["index_head_channels"],
        top_tokens=counts["index_top_tokens"],
    )
