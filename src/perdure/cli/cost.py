"""`perdure cost`: what one batch costs on a deployment, and on which numbers that rests."""

import argparse
import json
import sys
from collections.abc import Sequence

from rich.console import Console

from perdure.catalog.load import Catalog, load_catalog
from perdure.cli.cost_answer import cost_of
from perdure.cli.cost_json import cost_json
from perdure.cli.cost_text import cost_text
from perdure.config import read_places
from perdure.errors import BadRequest
from perdure.models.batch_text import parse_batch
from perdure.models.precision import PRECISIONS
from perdure.silicon.machine_record import catalog_for
from perdure.silicon.price_rent import Rent, typed_rents
from perdure.twin.deployment import Deployment
from perdure.twin.deployment_text import DEGREES, parse_deployment


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be typed after `perdure cost`."""
    parser.epilog = (
        "Example: perdure cost --on h200x8/qwen3-32b:tp=8 --batch prefill=2048@8192,decode=4096x32. "
        "`perdure catalog chips`, `racks` and `models` list what can be named."
    )
    parser.add_argument(
        "--on",
        required=True,
        metavar="DEPLOYMENT",
        help="HARDWARE/MODEL[:tp=N,pp=N,dp=N,ep=N,precision=P,kv=P], such as h200x8/qwen3-32b:tp=8 "
        "al128/qwen3-235b:tp=8 or this-machine/smollm2-135m; with --model, the hardware alone: CHIP, CHIPxN "
        "or a rack",
    )
    parser.add_argument(
        "--batch",
        required=True,
        metavar="SPEC",
        help="prefill=TOKENS[@CACHED][xN] and decode=CONTEXT[+DRAFTS][xN], with commas between",
    )
    parser.add_argument("--model", metavar="M", help="a model of the catalogue, or a path to a config.json")
    parser.add_argument("--tp", metavar="N", help="chips that share each matrix and head")
    parser.add_argument("--pp", metavar="N", help="stages of consecutive layers")
    parser.add_argument("--dp", metavar="N", help="groups of chips that attend apart and share the experts")
    parser.add_argument("--ep", metavar="N", help="ways that routed experts are dealt out over a stage")
    parser.add_argument(
        "--precision", metavar="P", help=f"of weights: {', '.join(PRECISIONS)} (default: bf16)"
    )
    parser.add_argument(
        "--kv", metavar="P", help="of keys and values: bf16, fp8, int8, fp4 or fp32 (default: bf16)"
    )
    parser.add_argument(
        "--price",
        action="append",
        default=[],
        metavar="CHIP=LOW..HIGH",
        help="rent of one chip for an hour in dollars, in place of the catalogue's",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Print what the batch costs, or say why it cannot run."""
    catalog = catalog_for(arguments.on, load_catalog(), read_places().cache_dir)
    deployment = _deployment(arguments, catalog)
    batch = parse_batch(arguments.batch)
    cost = cost_of(deployment, batch, catalog)
    if arguments.json:
        sys.stdout.write(json.dumps(cost_json(cost), indent=2) + "\n")
    else:
        Console(highlight=False).print(cost_text(cost))
    return 0


def _deployment(arguments: argparse.Namespace, catalog: Catalog) -> Deployment:
    text: str = arguments.on
    if arguments.model:
        hardware, _, settings_text = text.partition(":")
        if settings_text and "/" not in text:
            raise BadRequest(
                f"--on {text} has settings but no model; write "
                f"--on {hardware}/{arguments.model}:{settings_text}, "
                f"or --on {hardware} --model {arguments.model} with --tp and the like",
                param="on",
            )
        if "/" in text:
            raise BadRequest(
                f"--on {text} names a model already; leave --model out, or name the hardware alone: "
                f"--on {text.partition('/')[0]} --model {arguments.model}",
                param="on",
            )
        text = f"{text}/{arguments.model}"
    elif "/" not in text:
        raise BadRequest(
            f"--on {text} names no model; write --on {text}/MODEL, or add --model MODEL", param="on"
        )
    typed = {name: getattr(arguments, name) for name in (*DEGREES, "precision", "kv")}
    settings = {name: value for name, value in typed.items() if value is not None}
    rents = _rents(arguments.price, catalog)
    deployment = parse_deployment(text, catalog, settings=settings, rents=rents)
    for chip_id in rents:
        if chip_id != deployment.chip.id:
            raise BadRequest(
                f"--price names {chip_id}, but the deployment is of {deployment.chip.short_id}", param="price"
            )
    return deployment


def _rents(texts: Sequence[str], catalog: Catalog) -> dict[str, Rent]:
    """What was typed after --price, by the id of the chip; raises BadRequest where one has two prices."""
    rents: dict[str, Rent] = {}
    for text in texts:
        for name, rent in typed_rents([text]).items():
            chip = catalog.chip(name)
            if chip.id in rents:
                raise BadRequest(f"--price is given twice for {chip.short_id}; give it once", param="price")
            rents[chip.id] = rent
    return rents
