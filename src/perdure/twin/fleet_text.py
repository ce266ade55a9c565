"""How the pools of a run are written: deployments joined by `+`, with what the twin adds to each.

`h200x8/qwen3-32b:tp=2,replicas=4` is one pool; `h200x4/qwen3-32b:tp=4+h200x4/llama-3.1-8b:tp=1` are two, for
a workload that calls both models. What a deployment itself takes is in `deployment_text`.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from perdure.catalog.load import Catalog
from perdure.errors import BadRequest
from perdure.silicon.price_rent import Rent
from perdure.twin.deployment import Deployment
from perdure.twin.deployment_text import SETTINGS, parse_deployment
from perdure.twin.pool import Engine, Tier
from perdure.twin.pool_build import default_engine
from perdure.units import read_bytes

COUNTS = {
    "replicas": 100_000,
    "sequences": 1024,
    "batch": 16_384,
    "block": 1024,
    "prefill": 100_000,
    "decode": 100_000,
    "draft": 32,
}
SWITCHES = {"on": True, "off": False}
TIERS = ("host", "pooled", "ssd", "remote")
EXTRA = ("name", *COUNTS, "accept", "prefill_cache", "preempt", *TIERS)
SHARED_TIERS = ("pooled", "remote")
LATENCY_S = {"host": 20e-6, "pooled": 10e-6, "ssd": 200e-6, "remote": 2e-3}

_RATE = re.compile(r"(?P<bytes>.+?)/s", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolText:
    """One pool as written."""

    name: str
    deployment: Deployment
    replicas: int
    engine: Engine
    tiers: tuple[Tier, ...]
    prefill_replicas: int


def parse_pool(text: str, catalog: Catalog, *, rents: Mapping[str, Rent] | None = None) -> PoolText:
    """One pool: its deployment, and of what is beside it in the text the replicas, engine and tiers."""
    head, colon, tail = text.partition(":")
    plain, extra = _split(tail)
    replicas, prefills = _roles(extra)
    deployment_text = f"{head}:{plain}" if colon and plain else head
    deployment = parse_deployment(deployment_text, catalog, rents=rents)
    engine = _engine(deployment, extra)
    return PoolText(
        name=extra.get("name", deployment.model.short_id),
        deployment=deployment,
        replicas=_replicas(replicas, deployment),
        engine=engine,
        tiers=tuple(_tier(name, extra[name], deployment) for name in TIERS if name in extra),
        prefill_replicas=prefills,
    )


def _split(tail: str) -> tuple[str, dict[str, str]]:
    """The settings of the deployment, as they are, and those that are ours."""
    plain: list[str] = []
    extra: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in tail.split(","))):
        key, equals, value = (word.strip() for word in part.partition("="))
        if key not in EXTRA:
            if key not in SETTINGS:
                near = difflib.get_close_matches(key, (*SETTINGS, *EXTRA), n=1)
                hint = f"did you mean {near[0]}? " if near else ""
                known = ", ".join((*SETTINGS, *EXTRA))
                raise BadRequest(f"there is no setting {key!r}; {hint}it is one of {known}", param="on")
            plain.append(part)
            continue
        if not (equals and value):
            raise BadRequest(f"{part!r} is no setting; write {key}=VALUE", param="on")
        if key in extra:
            raise BadRequest(f"{key} is set twice in {tail!r}", param="on")
        extra[key] = value
    return ",".join(plain), extra


def _roles(extra: Mapping[str, str]) -> tuple[str | None, int]:
    """All replicas as written, and those of them that only compute prompts."""
    if ("prefill" in extra) != ("decode" in extra):
        raise BadRequest("write both prefill=N and decode=N: replicas of each role", param="on")
    if "prefill" not in extra:
        return extra.get("replicas"), 0
    prefills, decodes = _count("prefill", extra["prefill"]), _count("decode", extra["decode"])
    if "replicas" in extra and _count("replicas", extra["replicas"]) != prefills + decodes:
        raise BadRequest(
            f"prefill={prefills} and decode={decodes} are {prefills + decodes} replicas, not "
            f"{extra['replicas']}; leave replicas= out",
            param="on",
        )
    return str(prefills + decodes), prefills


def _replicas(text: str | None, deployment: Deployment) -> int:
    if text is None:
        return deployment.instances
    replicas = _count("replicas", text)
    if replicas > deployment.instances:
        raise BadRequest(
            f"replicas={replicas} of {deployment.chips} chips each take {replicas * deployment.chips}; "
            f"{deployment.instances} fit, so write replicas={deployment.instances} or name more chips",
            param="on",
        )
    return replicas


def _count(key: str, text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= COUNTS[key]:
        raise BadRequest(f"{key}={text}: write a whole number from 1 to {COUNTS[key]:,}", param="on")
    return int(text)


def _engine(deployment: Deployment, extra: Mapping[str, str]) -> Engine:
    usual = default_engine(deployment)
    drafts = _count("draft", extra["draft"]) if "draft" in extra else 0
    if ("draft" in extra) != ("accept" in extra):
        raise BadRequest(
            "write both draft=K, tokens guessed for each step, and accept=P, how likely one is right",
            param="on",
        )
    return Engine(
        sequences_max=_count("sequences", extra.get("sequences", str(usual.sequences_max))),
        batch_tokens_max=_count("batch", extra.get("batch", str(usual.batch_tokens_max))),
        block_tokens=_count("block", extra.get("block", str(usual.block_tokens))),
        draft_tokens=drafts,
        accept=_share("accept", extra["accept"]) if drafts else 0.0,
        prefill_cache=_switch(extra),
        swaps=_swaps(extra),
    )


def _swaps(extra: Mapping[str, str]) -> bool:
    text = extra.get("preempt", "recompute")
    if text not in ("recompute", "swap"):
        raise BadRequest(f"preempt={text}: write recompute or swap", param="on")
    if text == "swap" and not any(name in extra for name in TIERS):
        raise BadRequest("preempt=swap needs somewhere to swap to; write host=SIZE too", param="on")
    return text == "swap"


def _share(key: str, text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0.0 <= share <= 1.0:
        raise BadRequest(f"{key}={text}: write a part of one, from 0 to 1", param="on")
    return share


def _switch(extra: Mapping[str, str]) -> bool:
    text = extra.get("prefill_cache", "on")
    if text not in SWITCHES or ("prefill_cache" in extra and "prefill" not in extra):
        raise BadRequest(
            f"prefill_cache={text}: write on or off, and how many replicas compute prompts: prefill=N",
            param="on",
        )
    return SWITCHES[text]


def _tier(name: str, text: str, deployment: Deployment) -> Tier:
    """A tier of `SIZE` or `SIZE@RATE` for each chip (of a shared one: all that there is, and each's rate)."""
    size_text, at, rate_text = text.partition("@")
    size = _bytes(f"{name}={text}", size_text)
    rate = _rate(name, rate_text, deployment) if at else _host_rate(name, deployment)
    chips = deployment.chips
    return Tier(
        name=name,
        size_bytes=size * (1 if name in SHARED_TIERS else chips),
        read_bytes_per_s=rate * chips,
        write_bytes_per_s=rate * chips,
        latency_s=LATENCY_S[name],
        shared=name in SHARED_TIERS,
    )


def _rate(name: str, text: str, deployment: Deployment) -> float:
    found = _RATE.fullmatch(text.strip())
    if found is None:
        raise BadRequest(f"{name}=..@{text}: write bytes per second and chip, such as 50GB/s", param="on")
    return _bytes(f"{name}=..@{text}", found["bytes"])


def _host_rate(name: str, deployment: Deployment) -> float:
    figure = deployment.chip.figures.get("host_link_bytes_per_s")
    if name != "host" or figure is None:
        raise BadRequest(
            f"nothing is published of how fast {deployment.chip.title} reaches a tier called {name}; write "
            f"{name}=SIZE@RATE, for each chip, such as {name}=1TB@5GB/s",
            param="on",
        )
    return figure.mid


def _bytes(what: str, text: str) -> float:
    size = read_bytes(text)
    if size is None:
        raise BadRequest(f"{what}: write a size such as 64GB, 2TB or 512MiB", param="on")
    return size
