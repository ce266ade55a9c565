"""What there is to say of one batch on one deployment: price, memory, and the rent that breaks even."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from perdure.catalog.figure import Figure
from perdure.catalog.load import Catalog
from perdure.errors import BadRequest
from perdure.models.batch import Batch
from perdure.models.cost import Price, break_even_usd_per_h
from perdure.models.memory import Memory
from perdure.models.parallel import Parallel, check_parallel
from perdure.models.precision import find_precision
from perdure.silicon.calibration import calibration_of
from perdure.silicon.price_rent import catalogue_rent
from perdure.silicon.ranges import Range
from perdure.twin.deployment import Deployment
from perdure.twin.deployment_text import find_place, hardware_title

# Chips with public rents, against which a chip without one is set.
COMPARED = ("nvidia-h200", "nvidia-b200", "amd-mi300x")
# What a model is tried in where it does not fit, from the largest to the smallest.
SMALLER = ("fp8", "int8", "mxfp4-fp8", "fp4", "int4")
CHIPS_MAX = 1024  # of an instance that a refusal advises


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakEven:
    """The rent of a chip for an hour at which a batch costs what it costs on `than`."""

    than: str
    usd_per_h: Range


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """One batch on one deployment.

    break_even  against chips that have a rent, where this one has none but what was typed
    """

    deployment: Deployment
    batch: Batch
    price: Price
    memory: Memory
    break_even: tuple[BreakEven, ...]

    @property
    def figures(self) -> tuple[Figure, ...]:
        """Every figure of chip, links, power and model that it rests on."""
        instance = self.deployment.instance
        return (*instance.figures, *instance.hardware.power_figures, *self.deployment.model.figures.values())


def cost_of(deployment: Deployment, batch: Batch, catalog: Catalog) -> Cost:
    """Its cost; raises BadRequest, saying what would do, where chips or model cannot run the batch."""
    _check(deployment, batch)
    public = catalogue_rent(deployment.chip)
    return Cost(
        deployment=deployment,
        batch=batch,
        price=deployment.instance.price(batch),
        memory=deployment.instance.memory(batch),
        break_even=tuple(_break_even(deployment, batch, catalog)) if public is None else (),
    )


def _check(deployment: Deployment, batch: Batch) -> None:
    """Refuse a batch that the model's window or the chips' memory has no room for, and say what would."""
    model, chip = deployment.architecture, deployment.instance.hardware.mid.chip
    chip.check_kv_precision(deployment.precision.kv)
    for arithmetic in deployment.instance.lowering.arithmetics:
        chip.peak_flops_per_s(arithmetic)
    longest = max(
        *(part.context_tokens for part in batch.prefills),
        *(part.context_tokens + part.draft_tokens for part in batch.decodes),
        0,
    )
    if longest > model.window_tokens:
        raise BadRequest(
            f"the batch has a context of {longest:,.0f} tokens; the window of {model.name} is "
            f"{model.window_tokens:,}",
            param="batch",
        )
    problem = deployment.instance.memory(batch).problem
    if problem:
        layout = f"{deployment.parallel.text}, {deployment.precision.name}"
        raise BadRequest(
            f"{model.name} ({layout}) on {deployment.hardware} {problem}. {_remedy(deployment, batch)}",
            param="on",
        )


def _remedy(deployment: Deployment, batch: Batch) -> str:
    """What makes it fit: a smaller precision that the chip has, fewer copies of the cache, or more chips."""
    tried = (_smaller(deployment, batch), _regrouped(deployment, batch), _wider(deployment, batch))
    ways = [way for way in tried if way]
    if not ways:
        return "Take fewer sequences, shorter contexts or a smaller model."
    return f"It fits with {', or with '.join(ways)}."


def _smaller(deployment: Deployment, batch: Batch) -> str | None:
    for name in SMALLER:
        smaller = replace(deployment, precision=find_precision(name, kv=deployment.precision.kv))
        if _computes(smaller) and _fits(smaller, batch):
            return f"precision={name}"
    return None


def _regrouped(deployment: Deployment, batch: Batch) -> str | None:
    """The same chips in groups that attend apart, so that no more of them keep copies of a KV head."""
    chips, tp = deployment.parallel.stage_chips, deployment.parallel.tp
    while deployment.architecture.expert_layers and tp > 1:
        tp //= 2
        layout = replace(deployment.parallel, tp=tp, dp=chips // tp, ep=chips)
        fits = layout.stage_chips == chips and _fits(replace(deployment, parallel=layout), batch)
        if fits and _lays(deployment, layout):
            return layout.text
    return None


def _wider(deployment: Deployment, batch: Batch) -> str | None:
    """More chips: twice as many to each matrix as long as heads can be shared out, then twice the stages."""
    if deployment.rack is None:
        return None
    layout = replace(deployment.parallel, ep=1, dp=1)
    while layout.chips < CHIPS_MAX:
        shared = replace(layout, tp=2 * layout.tp)
        layout = shared if _lays(deployment, shared) else replace(layout, pp=2 * layout.pp)
        if not _lays(deployment, layout):
            return None
        if _fits(replace(deployment, parallel=layout), batch):
            return f"{layout.text}, over {layout.chips} chips"
    return None


def _lays(deployment: Deployment, layout: Parallel) -> bool:
    """Whether an engine would run the model so, and as many chips can be joined."""
    rack = deployment.instance.hardware.mid.rack
    try:
        check_parallel(deployment.architecture, layout)
        if rack is not None and layout.chips > 1:
            rack.tier_for(layout.chips)
    except BadRequest:
        return False
    return True


def _fits(deployment: Deployment, batch: Batch) -> bool:
    return deployment.instance.memory(batch).problem is None


def _computes(deployment: Deployment) -> bool:
    """Whether the chip has every number format that the precision needs."""
    return set(deployment.instance.lowering.arithmetics) <= set(deployment.chip.precisions)


def _break_even(deployment: Deployment, batch: Batch, catalog: Catalog) -> Iterator[BreakEven]:
    """Against each chip with a public rent that can run the same thing in the same layout."""
    for chip_id in COMPARED:
        place = find_place(f"{chip_id}x{deployment.parallel.chips}", catalog)
        priced = replace(
            deployment,
            hardware=hardware_title(place, deployment.parallel.chips),
            chip=place.chip,
            rack=place.rack,
            efficiency=calibration_of(place.chip.id),
            rent=catalogue_rent(place.chip),
        )
        keeps = deployment.precision.kv in place.chip.names("kv_precisions")
        if keeps and _computes(priced) and _fits(priced, batch):
            usd_per_h = break_even_usd_per_h(deployment.instance, priced.instance, batch)
            yield BreakEven(than=priced.hardware, usd_per_h=usd_per_h)
