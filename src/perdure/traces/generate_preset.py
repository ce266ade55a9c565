"""What is known of the agents of one published data set; where it is silent, another one speaks."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

from perdure.errors import BadRequest, CatalogBroken
from perdure.traces.generate_law import Spread, read_spread
from perdure.traces.workload_keys import nearest

DEFAULT_PRESET = "kv-cache-tester"
SPREADS = (
    "turns",
    "output_tokens",
    "fresh_tokens",
    "first_tokens",
    "tool_gap_s",
    "user_gap_s",
    "system_tokens",
    "compacted_tokens",
    "subagent_turns",
    "subagent_first_tokens",
    "subagent_system_tokens",
)
NUMBERS = (
    "tool_share",
    "subagents_share",
    "subagents_each",
    "subagent_factor",
    "fork_share",
    "rewrite_share",
    "large_share",
    "compact_low",
    "compact_high",
    "large_low",
    "large_high",
    "session_coupling",
    "output_coupling",
    "early_factor",
    "first_coupling",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A data set's agents. `borrowed` names what was taken from the default preset, in part or whole."""

    name: str
    spreads: Mapping[str, Spread]
    numbers: Mapping[str, float]
    borrowed: tuple[str, ...] = ()


def preset_names() -> tuple[str, ...]:
    """The presets that come with the package."""
    files = resources.files("perdure.traces").joinpath("presets").iterdir()
    return tuple(sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml")))


def load_preset(name: str) -> Preset:
    """The preset called `name`; what it lacks is taken from the default one."""
    if name not in preset_names():
        raise BadRequest(f"preset={name}: {nearest(name, preset_names())}", param="workload")
    file = resources.files("perdure.traces").joinpath("presets", f"{name}.toml")
    table = tomllib.loads(file.read_text(encoding="utf-8"))
    fallback = None if name == DEFAULT_PRESET else load_preset(DEFAULT_PRESET)
    return read_preset(name, table, fallback)


def read_preset(name: str, table: Mapping[str, Mapping[str, object]], fallback: Preset | None) -> Preset:
    """The preset that `table` gives. Of a law with a median alone, the fallback's is scaled to it."""
    unknown = sorted(table.keys() - {*SPREADS, "numbers"})
    if unknown:
        raise CatalogBroken(f"presets/{name}.toml: {unknown[0]}: {nearest(unknown[0], SPREADS)}")
    spreads: dict[str, Spread] = {}
    borrowed: list[str] = []
    for key in SPREADS:
        place = f"presets/{name}.toml: {key}"
        given = read_spread(place, _sourced(place, table[key])) if key in table else None
        if given is not None and len(given.quantiles) > 1:
            spreads[key] = given
            continue
        if fallback is None:
            raise CatalogBroken(f"{place}: the preset that others fall back on gives the whole law")
        borrowed.append(key)
        spreads[key] = _scaled(fallback.spreads[key], given)
    numbers = _numbers(f"presets/{name}.toml", table.get("numbers", {}))
    missing = [key for key in NUMBERS if key not in numbers]
    if missing and fallback is None:
        raise CatalogBroken(f"presets/{name}.toml: {missing[0]} is missing")
    known = {**(fallback.numbers if fallback else {}), **numbers}
    return Preset(name=name, spreads=spreads, numbers=known, borrowed=(*borrowed, *missing))


def _scaled(law: Spread, given: Spread | None) -> Spread:
    if given is None:
        return law
    ((share, value),) = given.quantiles
    return law.times(value / dict(law.quantiles)[share])


def _numbers(place: str, table: Mapping[str, object]) -> dict[str, float]:
    found: dict[str, float] = {}
    for key, value in _sourced(place, table).items() if table else ():
        if key == "source":
            continue
        if key not in NUMBERS or not isinstance(value, int | float):
            raise CatalogBroken(f"{place}: numbers: {key} = {value!r}: {nearest(key, NUMBERS)}")
        found[key] = float(value)
    return found


def _sourced(place: str, table: Mapping[str, object]) -> Mapping[str, object]:
    if not isinstance(table.get("source"), str):
        raise CatalogBroken(f"{place}: a figure says its source; add source = ...")
    return table
