"""A pool from its text, with the catalogue at hand."""

from collections.abc import Mapping

from perdure.catalog.load import load_catalog
from perdure.silicon.price_rent import Rent
from perdure.twin.fleet_text import parse_pool
from perdure.twin.pool import Pool
from perdure.twin.pool_build import pool_of


def make_pool(text: str, rents: Mapping[str, Rent]) -> Pool:
    """The pool that `text` means; `rents` by chips as typed."""
    catalog = load_catalog()
    by_id = {catalog.chip(name).id: rent for name, rent in rents.items()}
    written = parse_pool(text, catalog, rents=by_id)
    return pool_of(
        written.deployment,
        name=written.name,
        replicas=written.replicas,
        engine=written.engine,
        tiers=written.tiers,
        prefill_replicas=written.prefill_replicas,
    )
