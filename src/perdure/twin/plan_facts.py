"""A buyer's own figures: a TOML file laid over the catalogue, every figure of it marked as theirs.

[chips.m890]
memory_bandwidth_tb_per_s = 4.4
power_w = { low = 550, mid = 600, high = 650 }
[racks.al128.links.icn]
software_us = 3
[sites.default]
electricity_usd_per_kwh = 0.06
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from perdure.catalog.complete import check_complete
from perdure.catalog.entry import Entry
from perdure.catalog.figure import Figure, Status
from perdure.catalog.load import Catalog
from perdure.catalog.quantity import KINDS, PARTS, Kind
from perdure.catalog.rules import Place, bare_fact, guess
from perdure.errors import BadRequest, CatalogBroken

YOURS = "yours"
FACTS_BYTES_MAX = 256 * 1024
POWER_PRICE_MAX_USD_PER_KWH = 10.0
SITE = "default"


def read_facts(path: Path, catalog: Catalog) -> tuple[Entry, ...]:
    """The entries of `catalog` as the file at `path` has them; BadRequest with file, key and reason."""
    try:
        if path.stat().st_size > FACTS_BYTES_MAX:
            raise BadRequest(f"{path}: larger than {FACTS_BYTES_MAX} bytes", param="facts")
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        return tuple(_entries(table, catalog, path.name))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadRequest(f"--facts {path}: cannot be read: {error}", param="facts") from error
    except CatalogBroken as error:
        raise BadRequest(f"--facts {error.message}", param="facts") from error


def read_power_price(text: str, catalog: Catalog) -> Entry:
    """The site with electricity at `text`, a price or LOW..HIGH in dollars a kilowatt hour."""
    low_text, _, high_text = text.partition("..")
    try:
        low = float(low_text)
        high = float(high_text) if high_text else low
    except ValueError:
        low = high = -1.0
    if not 0 < low <= high <= POWER_PRICE_MAX_USD_PER_KWH:
        raise BadRequest(
            f"--power-price {text}: write dollars a kilowatt hour, such as 0.08 or 0.05..0.12",
            param="power_price",
        )
    site = catalog.site(SITE)
    price = replace(
        site.figure("electricity_usd_per_kwh"),
        low=low,
        mid=(low + high) / 2,
        high=high,
        status=Status.PUBLISHED if low == high else Status.ESTIMATE,
        source=f"{YOURS} (--power-price)",
    )
    return replace(site, figures={**site.figures, price.name: price})


def yours(entries: tuple[Entry, ...]) -> list[Figure]:
    """Every figure that the buyer gave."""
    return [
        figure
        for entry in entries
        for figures in (entry.figures, *(part.figures for part in entry.parts.values()))
        for figure in figures.values()
        if figure.source.startswith(YOURS)
    ]


def _entries(table: Mapping[str, Any], catalog: Catalog, file: str) -> Iterator[Entry]:
    for kind_text, names in table.items():
        kind: Kind | None = next((kind for kind in KINDS if kind == kind_text), None)
        if kind is None or not isinstance(names, dict):
            raise CatalogBroken(f"{file}: [{kind_text}]: write [chips.NAME], [racks.NAME], [models.NAME] ..")
        for name, figures in cast("dict[str, Any]", names).items():
            if not isinstance(figures, dict):
                raise CatalogBroken(f"{file}: {kind}.{name}: write a table [{kind}.{name}]")
            yield _entry(catalog.find(kind, name), kind, cast("dict[str, Any]", figures), file)


def _entry(entry: Entry, kind: Kind, table: Mapping[str, Any], file: str) -> Entry:
    place = Place(f"{file}: {kind}.{entry.short_id}", kind, entry.path)
    figures, parts = dict(entry.figures), dict(entry.parts)
    for key, value in table.items():
        if key not in PARTS[kind]:
            figure = _figure(place, key, value, file)
            figures[figure.name] = figure
            continue
        for name, inner in cast("dict[str, dict[str, Any]]", value).items():
            if name not in parts:
                raise place.broken(f"{key}.{name}", f"there is none; it has {', '.join(parts)}")
            part = parts[name]
            here = replace(place, kind=part.kind, owner=f"{entry.path}/{key}/{name}", under=f"{key}.{name}.")
            given = [_figure(here, inner_key, one, file) for inner_key, one in inner.items()]
            parts[name] = replace(part, figures={**part.figures, **{one.name: one for one in given}})
    changed = replace(entry, figures=figures, parts=parts)
    check_complete(changed)
    return changed


def _figure(place: Place, key: str, value: object, file: str) -> Figure:
    """A bare number as their fact, `low`, `mid` and `high` as their guess."""
    source = f"{YOURS} ({file})"
    if isinstance(value, dict):
        return guess(place, key, {**cast("dict[str, Any]", value), "reason": source})
    return bare_fact(place, key, value, Status.PUBLISHED, source)
