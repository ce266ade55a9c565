"""How a deployment is written in one line: `h200x8/qwen3-32b:tp=8`, `al128/qwen3-235b:tp=4,precision=fp8`.

Hardware is a chip of the catalogue, or `CHIPxN` for several in the node that it comes in, or a rack. The
model is one of the catalogue, or the path of a Hugging Face config.json. What follows the colon says how an
instance is laid out; what is left out is chosen here, and the same way for every command.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from perdure.catalog.entry import Entry
from perdure.catalog.load import Catalog
from perdure.errors import BadRequest, NotFound
from perdure.models.architecture import Architecture, architecture_of
from perdure.models.hugging_face import read_config
from perdure.models.memory import RESERVE_SHARE, weights_bytes
from perdure.models.operations import Lowering
from perdure.models.parallel import Parallel, check_parallel, query_heads
from perdure.models.precision import Precision, find_precision
from perdure.silicon.calibration import calibration_of
from perdure.silicon.energy import electricity_at
from perdure.silicon.price_rent import Rent, catalogue_rent
from perdure.silicon.rack import scale_up_part
from perdure.twin.deployment import Deployment

DEGREES = ("tp", "pp", "dp", "ep")
SETTINGS = (*DEGREES, "precision", "kv")
CHIPS_MAX = 100_000
HOW = (
    "write HARDWARE/MODEL[:SETTING=VALUE,...], such as h200x8/qwen3-32b:tp=8 or "
    "al128/qwen3-235b:tp=4,ep=4,precision=fp8,kv=fp8"
)

_COUNTED = re.compile(r"(?P<name>.+?)x(?P<count>\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Chips of one kind, in the rack or node that joins them; `named_chips` None where a rack was named."""

    chip: Entry
    rack: Entry | None
    chips: int
    named_chips: int | None

    @property
    def domain_chips(self) -> int:
        """How many reach each other over the fastest link."""
        if self.rack is None or self.chips == 1:
            return 1
        return min(self.chips, int(scale_up_part(self.rack).figure("domain_chips").mid))


def parse_deployment(
    text: str,
    catalog: Catalog,
    *,
    settings: Mapping[str, str] | None = None,
    rents: Mapping[str, Rent] | None = None,
) -> Deployment:
    """The deployment that `text` means; `settings` adds to those in it, `rents` go by ids of chips."""
    hardware_text, slash, rest = text.strip().partition("/")
    model_text, _, settings_text = rest.partition(":")
    if not (hardware_text and slash and model_text):
        raise BadRequest(f"{text!r} is no deployment; {HOW}", param="on")
    wanted = _merged(_settings(settings_text), settings or {})
    place = find_place(hardware_text, catalog)
    model = find_model(model_text, catalog)
    precision = find_precision(wanted.get("precision", "bf16"), kv=wanted.get("kv", "bf16"))
    architecture = architecture_of(model)
    _check_precision(architecture, precision)
    parallel = _parallel(architecture, precision, place, wanted)
    return Deployment(
        hardware=hardware_title(place, parallel.chips),
        chip=place.chip,
        rack=place.rack,
        model=model,
        precision=precision,
        parallel=parallel,
        instances=place.chips // parallel.chips,
        efficiency=calibration_of(place.chip.id),
        rent=(rents or {}).get(place.chip.id) or catalogue_rent(place.chip),
        electricity=electricity_at(catalog.site()),
    )


def find_place(text: str, catalog: Catalog) -> Place:
    """The hardware that `text` names: a rack, a chip, or so many chips."""
    racks, chips = catalog.entries["racks"].values(), catalog.entries["chips"].values()
    exact = text.strip().lower()
    for rack in racks:
        if exact in (rack.id, rack.short_id):
            return _whole_rack(rack, catalog)
    counted = None
    if not any(exact in (chip.id, chip.short_id) for chip in chips):
        counted = _COUNTED.fullmatch(exact)
    name, count = (counted["name"], int(counted["count"])) if counted else (exact, 1)
    if not 0 < count <= CHIPS_MAX:
        raise BadRequest(f"{text!r}: a deployment has 1 to {CHIPS_MAX:,} chips", param="on")
    try:
        chip = catalog.chip(name)
    except NotFound:
        near = difflib.get_close_matches(exact, [rack.short_id for rack in racks], n=1, cutoff=0.75)
        if near and not counted:
            raise NotFound(f"there is no chip or rack {text!r}; did you mean the rack {near[0]}?") from None
        raise
    return Place(chip=chip, rack=catalog.node_of(chip), chips=count, named_chips=count)


def find_model(text: str, catalog: Catalog) -> Entry:
    """The model that `text` names, or its config.json; of one that only its maker serves, the stand-in."""
    if "/" in text or text.endswith(".json"):
        return read_config(Path(text))
    return catalog.stand_in(catalog.model(text))


def hardware_title(place: Place, chips: int) -> str:
    """What people call `chips` of it."""
    if place.rack is None or chips == 1:
        return f"{chips} × {place.chip.title}"
    racks = -(-chips // int(place.rack.figure("rack_chips").mid))
    where = place.rack.title if racks == 1 else f"{racks} × {place.rack.title}"
    return f"{chips} × {place.chip.title} in {where}"


def _whole_rack(rack: Entry, catalog: Catalog) -> Place:
    chips = int(rack.figure("rack_chips").mid)
    return Place(chip=catalog.chip(rack.text("chip") or ""), rack=rack, chips=chips, named_chips=None)


def _settings(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = (word.strip() for word in part.partition("="))
        if not (equals and value):
            raise BadRequest(f"{part!r} is no setting; {HOW}", param="on")
        if key not in SETTINGS:
            near = difflib.get_close_matches(key, SETTINGS, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise BadRequest(
                f"there is no setting {key!r}; {hint}it is one of {', '.join(SETTINGS)}", param="on"
            )
        if key in found:
            raise BadRequest(f"{key} is set twice in {text!r}", param="on")
        found[key] = value
    return found


def _merged(written: Mapping[str, str], added: Mapping[str, str]) -> dict[str, str]:
    for key in sorted(written.keys() & added.keys()):
        if written[key] != added[key]:
            raise BadRequest(
                f"{key} is {written[key]} in the deployment and {added[key]} beside it; say it once",
                param=key,
            )
    return {**written, **added}


def _parallel(model: Architecture, precision: Precision, place: Place, wanted: Mapping[str, str]) -> Parallel:
    """The layout that was asked for, with what was left out filled in, and checked."""
    degrees = {name: _degree(name, wanted[name]) for name in DEGREES if name in wanted}
    dp, pp = degrees.get("dp", 1), degrees.get("pp", 1)
    tp = degrees.get("tp") or _default_tp(model, precision, place, dp=dp, pp=pp)
    # Groups that attend apart share their experts by dealing them out, as engines do by default.
    ep = degrees.get("ep") or (tp * dp if dp > 1 else 1)
    parallel = Parallel(tp=tp, pp=pp, dp=dp, ep=ep)
    check_parallel(model, parallel)
    if parallel.chips > place.chips:
        has = f"{place.rack.title} has" if place.named_chips is None and place.rack else "there are"
        raise BadRequest(f"{parallel.text} takes {parallel.chips} chips; {has} {place.chips}", param="tp")
    _check_whole(parallel, place)
    return parallel


def _check_whole(parallel: Parallel, place: Place) -> None:
    """Refuse so many chips by number that instances of this layout leave some of them idle."""
    named, each = place.named_chips, parallel.chips
    if named is None or named % each == 0:
        return
    fewer, name = named - named % each, place.chip.short_id
    raise BadRequest(
        f"an instance with {parallel.text} takes {each} chips, so {named % each} of the {named} would stand "
        f"idle; name {name}x{fewer} or {name}x{fewer + each}, or a layout over a number that divides {named}",
        param="tp",
    )


def _check_precision(model: Architecture, precision: Precision) -> None:
    """Refuse a format that is of experts alone for a model without any: nothing would be kept in it."""
    if precision.expert_weights == precision.weights or model.expert_layers:
        return
    raise BadRequest(
        f"precision={precision.name} keeps experts alone in {precision.expert_weights.upper()}, and "
        f"{model.name} has none: it would be {precision.weights}. Take {precision.weights}, or fp4 or int4 "
        "for four bits",
        param="precision",
    )


def _default_tp(model: Architecture, precision: Precision, place: Place, *, dp: int, pp: int) -> int:
    """All chips that were named; of a rack, the fewest in one domain whose memory holds the weights."""
    heads = min(query_heads(group.attention) for group in model.groups)
    usable = place.domain_chips if place.named_chips is None else place.named_chips
    fitting = [tp for tp in range(1, max(1, usable // (dp * pp)) + 1) if heads % tp == 0]
    if place.named_chips is not None:
        return fitting[-1]
    room = place.chip.figure("memory_bytes").low * (1 - RESERVE_SHARE)

    def held(tp: int) -> float:
        layout = Parallel(tp=tp, pp=pp, dp=dp)
        return weights_bytes(Lowering(model=model, precision=precision, parallel=layout))

    return next((tp for tp in fitting if held(tp) <= room), fitting[-1])


def _degree(name: str, text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= CHIPS_MAX:
        raise BadRequest(f"{name}={text}: write a whole number from 1 to {CHIPS_MAX:,}", param=name)
    return int(text)
