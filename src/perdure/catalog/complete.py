"""What an entry must have once facts and guesses are together."""

from collections.abc import Iterator

from perdure.catalog.entry import Entry, missing_text
from perdure.catalog.quantity import QUANTITIES
from perdure.errors import CatalogBroken

# Which layers a model has, and what such a layer cannot be without.
_GROUPED = ("query_heads", "kv_heads", "head_channels")
_LATENT = ("query_heads", "query_latent_channels", "kv_latent_channels")
_LATENT_HEADS = ("rope_channels", "nope_channels", "value_channels")
_COMPRESSED = (
    "query_heads",
    "head_channels",
    "query_latent_channels",
    "output_groups",
    "output_latent_channels",
    "sliding_window_tokens",
)
_INDEX = ("index_heads", "index_head_channels", "index_top_tokens")
_NEEDS = {
    "sliding_attention_layers": (*_GROUPED, "sliding_window_tokens"),
    "linear_attention_layers": ("linear_key_heads", "linear_value_heads", "linear_head_channels"),
    "window_only_layers": _COMPRESSED,
    "light_compression_layers": (*_COMPRESSED, "light_compression_tokens", *_INDEX),
    "heavy_compression_layers": (*_COMPRESSED, "heavy_compression_tokens"),
    "routed_experts": ("active_experts", "expert_channels"),
    "dense_layers": ("feed_forward_channels", "routed_experts"),
    "index_heads": _INDEX,
}

LAYER_FIGURES = (
    "full_attention_layers",
    "sliding_attention_layers",
    "linear_attention_layers",
    "window_only_layers",
    "light_compression_layers",
    "heavy_compression_layers",
)


def check_complete(entry: Entry) -> None:
    """Raise CatalogBroken where `entry` lacks what its kind needs."""
    for quantity in QUANTITIES[entry.kind]:
        if quantity.required and quantity.figure_name not in entry.figures:
            raise CatalogBroken(missing_text(entry.kind, entry.id, quantity.figure_name))
    if entry.kind == "chips":
        _check_chip(entry)
    elif entry.kind == "racks":
        _check_rack(entry)
    elif entry.kind == "models" and not entry.text("stand_in"):
        _check_model(entry)


def _check_chip(entry: Entry) -> None:
    for what in ("precisions", "kv_precisions", "engines"):
        if what not in entry.lists:
            raise CatalogBroken(
                f"{entry.path}.toml: {what}: missing; list names with status and source, "
                f"or guess them with a reason in guesses/{entry.id}.toml"
            )
    for precision in entry.precisions:
        entry.figure(f"{precision}_dense_flop_per_s")
    for name in entry.figures:
        precision, is_compute, _ = name.partition("_dense_")
        if is_compute and precision not in entry.precisions:
            raise CatalogBroken(
                f"{entry.path}.toml: {name}: the chip does not list {precision} among its precisions"
            )


def _check_rack(entry: Entry) -> None:
    if not entry.parts:
        raise CatalogBroken(f"{entry.path}.toml: links: missing; say what joins its chips in [links.NAME]")
    for part in entry.parts.values():
        for quantity in QUANTITIES[part.kind]:
            if quantity.required:
                part.figure(quantity.figure_name)


def _check_model(entry: Entry) -> None:
    if "tied_embeddings" not in entry.words:
        raise CatalogBroken(f"{entry.path}.toml: tied_embeddings: missing; every model states it")
    for name in _needed(entry):
        if not entry.figures.get(name) or entry.figures[name].mid == 0:
            raise CatalogBroken(missing_text("models", entry.id, name))
    if _count(entry, "active_experts") > _count(entry, "routed_experts"):
        raise CatalogBroken(f"{entry.path}.toml: active_experts: more than there are routed experts")
    heads, groups = _count(entry, "query_heads"), _count(entry, "kv_heads")
    if heads and groups and heads % groups:
        raise CatalogBroken(
            f"{entry.path}.toml: kv_heads: {groups:.0f} do not divide {heads:.0f} query_heads into groups"
        )


def _count(entry: Entry, name: str) -> float:
    return entry.figures[name].mid if name in entry.figures else 0.0


def _needed(entry: Entry) -> Iterator[str]:
    yield from ("hidden_channels", "vocabulary_tokens")
    if not any(name in entry.figures for name in LAYER_FIGURES):
        yield LAYER_FIGURES[0]
    if "full_attention_layers" in entry.figures:
        latent = "kv_latent_channels" in entry.figures
        yield from (*_LATENT, *_LATENT_HEADS) if latent else _GROUPED
    if "routed_experts" not in entry.figures:
        yield "feed_forward_channels"
    for name, needs in _NEEDS.items():
        if name in entry.figures and entry.figures[name].mid > 0:
            yield from needs
