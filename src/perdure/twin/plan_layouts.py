"""Which layouts a plan tries: of each hardware that was named, every way to lay the model over its chips."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from perdure.catalog.entry import Entry
from perdure.catalog.load import Catalog
from perdure.errors import BadRequest
from perdure.models.architecture import architecture_of
from perdure.models.architecture_feed_forward import Experts
from perdure.models.batch import Batch, Prefill
from perdure.models.parallel import Parallel
from perdure.silicon.price_rent import Rent
from perdure.twin.deployment import Deployment
from perdure.twin.deployment_text import Place, find_model, find_place
from perdure.twin.fleet_text import parse_pool
from perdure.units import bytes_text

LAYOUTS_MAX = 256
LAID_OUT = ("tp", "pp", "dp", "ep")
# What a chip is taken to serve in where nothing is said: eight bits where it multiplies them, else BF16.
USUAL_PRECISIONS = ("fp8", "int8", "bf16")
FILTERS = ("vendor", "chip", "rack", "precision")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """One way to serve the workload, as it is typed after `--on`.

    place   the hardware as the user named it: layouts of one place compete first among themselves
    reason  why it cannot run, or None; deployments are of each pool
    """

    text: str
    place: str
    deployments: tuple[Deployment, ...]
    replicas: tuple[int, ...]
    reason: str | None = None

    @property
    def parts(self) -> list[str]:
        """The text of each pool."""
        return self.text.split("+")

    @property
    def chips(self) -> int:
        """All that are rented."""
        return sum(one.chips * count for one, count in zip(self.deployments, self.replicas, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is to be laid out.

    on          hardware, or whole deployments, as typed
    model       for hardware that comes without one
    precisions  those to try; none: what is usual for the chip
    """

    on: tuple[str, ...]
    model: str | None
    precisions: tuple[str, ...] = ()
    only: Mapping[str, str] | None = None
    exclude: Mapping[str, str] | None = None


def layouts_of(asked: Asked, catalog: Catalog, rents: Mapping[str, Rent]) -> list[Layout]:
    """Every layout, those that cannot run with the reason, in the order of `asked.on`."""
    found: list[Layout] = []
    for text in dict.fromkeys(asked.on):
        found += _of_one(text.strip(), asked, catalog, rents)
    if len(found) > LAYOUTS_MAX:
        raise BadRequest(
            f"{len(found)} layouts are more than the {LAYOUTS_MAX} that a plan tries; name fewer chips, or "
            "write some of them out, such as h200x8/qwen3-32b:tp=4",
            param="on",
        )
    return list({layout.text: layout for layout in found}.values())


def read_filter(text: str) -> dict[str, str]:
    """`vendor=nvidia,chip=h200` as what to keep or leave out."""
    found: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = (word.strip().lower() for word in part.partition("="))
        if not (equals and value) or key not in FILTERS:
            raise BadRequest(f"{part!r}: write one of {', '.join(FILTERS)}, such as vendor=nvidia")
        found[key] = value
    return found


def _of_one(text: str, asked: Asked, catalog: Catalog, rents: Mapping[str, Rent]) -> Iterator[Layout]:
    if "+" in text:
        parts = [part.strip() for part in text.split("+")]
        yield _laid_out("+".join(parts), text, catalog, rents)
        return
    hardware, slash, rest = text.partition("/")
    model, _, settings_text = rest.partition(":")
    model = model if slash else asked.model
    if not model:
        raise BadRequest(f"{text!r} names no model; write {text}/MODEL, or give --model", param="model")
    settings = [part.strip() for part in settings_text.split(",") if part.strip()]
    keys = {part.partition("=")[0] for part in settings}
    entry = find_model(model, catalog)
    places = [text] if keys & set(LAID_OUT) else list(_sizes(hardware, catalog))
    for place_text in places:
        head = place_text.partition("/")[0]
        place = find_place(head, catalog)
        if not _wanted(place, head, asked):
            continue
        for precision in _precisions(place.chip, entry, asked, settings):
            fixed = [*settings, *([f"precision={precision}"] if "precision" not in keys else [])]
            if keys & set(LAID_OUT):
                yield _laid_out(f"{head}/{model}:{','.join(fixed)}", text, catalog, rents)
                continue
            for parallel in _parallels(entry, place):
                written = ",".join([_written(parallel), *fixed])
                yield _laid_out(f"{head}/{model}:{written}", text, catalog, rents)


def _sizes(hardware: str, catalog: Catalog) -> Iterator[str]:
    """A rack or a counted chip is itself; a chip by its name alone comes in every size up to its node."""
    place = find_place(hardware, catalog)
    node = place.rack.figure("node_chips").mid if place.rack else 1
    if place.named_chips is None or hardware.strip().lower() not in (place.chip.id, place.chip.short_id):
        yield hardware
        return
    size = 1
    while size <= node:
        yield hardware if size == 1 else f"{hardware}x{size}"
        size *= 2


def _wanted(place: Place, head: str, asked: Asked) -> bool:
    racks = (place.rack.id, place.rack.short_id) if place.rack else ()
    names: dict[str, tuple[str, ...]] = {
        "vendor": ((place.chip.text("maker") or "").lower(),),
        "chip": (place.chip.id, place.chip.short_id),
        "rack": (head.lower(), *racks),
    }
    if asked.only and any(value not in names[key] for key, value in asked.only.items() if key in names):
        return False
    return not any(value in names[key] for key, value in (asked.exclude or {}).items() if key in names)


def _precisions(chip: Entry, model: Entry, asked: Asked, settings: Sequence[str]) -> list[str]:
    """Those that were named, in a setting or beside it; else the one that is usual for the chip."""
    written = [part.partition("=")[2] for part in settings if part.startswith("precision=")]
    names = written or list(asked.precisions)
    if not names:
        names = [next(name for name in USUAL_PRECISIONS if name in (*chip.precisions, "bf16"))]
    only, exclude = (asked.only or {}).get("precision"), (asked.exclude or {}).get("precision")
    return [name for name in names if name != exclude and only in (None, name)]


def _parallels(model: Entry, place: Place) -> Iterator[Parallel]:
    """Powers of two within a domain; experts cut, dealt out, or dealt out under attention apart."""
    architecture = architecture_of(model)
    experts = any(isinstance(group.feed_forward, Experts) for group in architecture.groups)
    most = place.domain_chips
    width = 1
    while width <= most:
        if place.named_chips is None or place.named_chips % width == 0:
            yield Parallel(tp=width)
            if experts and width > 1:
                yield Parallel(tp=width, ep=width)
                yield Parallel(dp=width, ep=width)
        width *= 2


def _written(parallel: Parallel) -> str:
    """As it is typed, with `tp` always: where it is left out, a deployment takes as much as it can."""
    degrees = (("tp", parallel.tp), ("dp", parallel.dp), ("ep", parallel.ep))
    return ",".join(f"{name}={degree}" for name, degree in degrees if degree > 1 or name == "tp")


def _laid_out(text: str, place: str, catalog: Catalog, rents: Mapping[str, Rent]) -> Layout:
    """The layout, with the reason where no engine would run it or a chip cannot hold it."""
    try:
        pools = [parse_pool(part, catalog, rents=rents) for part in text.split("+")]
    except BadRequest as error:
        if error.param in (None, "on"):
            raise
        return Layout(text=text, place=place, deployments=(), replicas=(), reason=error.message)
    layout = Layout(
        text=text,
        place=place,
        deployments=tuple(pool.deployment for pool in pools),
        replicas=tuple(pool.replicas for pool in pools),
    )
    for pool in pools:
        reason = _too_large(pool.deployment, pool.engine.batch_tokens_max)
        if reason:
            return Layout(
                text=text,
                place=place,
                deployments=layout.deployments,
                replicas=layout.replicas,
                reason=reason,
            )
    return layout


def _too_large(deployment: Deployment, batch_tokens: int) -> str | None:
    """Why a replica cannot hold the model and work on one chunk, or None; KV is not counted yet."""
    try:
        chip = deployment.instance.hardware.mid.chip
        chip.check_kv_precision(deployment.precision.kv)
        for arithmetic in (deployment.precision.arithmetic, deployment.precision.expert_arithmetic):
            chip.peak_flops_per_s(arithmetic)
        memory = deployment.instance.memory(Batch(prefills=(Prefill(new_tokens=batch_tokens),)))
    except BadRequest as error:
        return error.message
    needed = memory.weights_bytes + memory.activation_bytes + memory.reserve_bytes
    if needed <= memory.available_bytes:
        return None
    missing = needed - memory.available_bytes
    return (
        f"does not fit: a chip needs {bytes_text(needed)} without any KV (weights "
        f"{bytes_text(memory.weights_bytes)}, work {bytes_text(memory.activation_bytes)}, reserve "
        f"{bytes_text(memory.reserve_bytes)}) and has {bytes_text(memory.available_bytes)}: "
        f"{bytes_text(missing)} too many ({missing:,.0f} bytes)"
    )
