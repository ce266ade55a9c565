"""`perdure catalog`: what is known of chips, racks and models, how surely, and who says so."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from perdure.catalog.entry import Entry
from perdure.catalog.load import Catalog, load_catalog
from perdure.catalog.quantity import Kind
from perdure.cli.catalog_html import catalog_page
from perdure.cli.catalog_json import entries_json
from perdure.cli.catalog_rack import rack_text
from perdure.cli.catalog_text import entry_text, listing
from perdure.config import read_places
from perdure.errors import BadRequest, StorageFailed
from perdure.models.hugging_face import read_config
from perdure.silicon.machine import ID as THIS_MACHINE
from perdure.silicon.machine_record import measured_machine, recorded_machine

WHAT: dict[str, Kind] = {"chips": "chips", "racks": "racks", "models": "models", "rack": "racks"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be typed after `perdure catalog`."""
    parser.add_argument(
        "what",
        choices=list(WHAT),
        help="chips, racks or models: their figures; rack NAME: how its chips are wired",
    )
    parser.add_argument(
        "name",
        nargs="?",
        help="one of them: an id such as h200, al128 or qwen3-32b, or the beginning of one; "
        "`chips this-machine` measures this one; `models PATH` reads a Hugging Face config.json",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--html", type=Path, metavar="OUT", help="write one HTML file that needs no network")


def run(arguments: argparse.Namespace) -> int:
    """Print, or write, what was asked for."""
    catalog, kind = load_catalog(), WHAT[arguments.what]
    draws = arguments.what == "rack"
    if draws and arguments.name is None:
        known = ", ".join(entry.short_id for entry in catalog.entries["racks"].values())
        raise BadRequest(f"name the rack to draw: {known}", param="name")
    entries = chosen(catalog, kind, arguments.name)
    if arguments.html is not None:
        write_page(arguments.html, catalog_page(catalog, kind, entries, one=arguments.name is not None))
    if arguments.json:
        print(json.dumps(entries_json(catalog, kind, entries, one=arguments.name is not None), indent=2))
    elif arguments.html is not None:
        print(f"wrote {arguments.html}")
    else:
        _print(catalog, kind, entries, draws=draws, one=arguments.name is not None)
    return 0


def chosen(catalog: Catalog, kind: Kind, name: str | None) -> Sequence[Entry]:
    """The entry that `name` means, or all of `kind`."""
    if name is None:
        known = list(catalog.entries[kind].values())
        here = recorded_machine(read_places().cache_dir) if kind == "chips" else None
        return [*known, here] if here else known
    if kind == "chips" and name == THIS_MACHINE:
        return [measured_machine(read_places().cache_dir)]
    if kind == "models" and ("/" in name or name.endswith(".json")):
        return [read_config(Path(name))]
    return [catalog.find(kind, name)]


def write_page(path: Path, page: str) -> None:
    """Write `page` to `path`; raises StorageFailed where that cannot be done."""
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise StorageFailed(f"{path} cannot be written: {error}; name another file after --html") from error


def _print(catalog: Catalog, kind: Kind, entries: Sequence[Entry], *, draws: bool, one: bool) -> None:
    console = Console(highlight=False)
    if draws:
        console.print(rack_text(catalog, entries[0]), soft_wrap=True, markup=False)
    elif one:
        console.print(entry_text(catalog, entries[0]))
    else:
        console.print(listing(catalog, kind, entries))
