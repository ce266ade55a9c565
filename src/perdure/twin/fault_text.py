"""How faults and restarts are written: `chip@600s:replica=3,for=300s`, and `@1h,each=60s`.

chip, node     breaks, and with it every replica that has a chip there; `replica=` or `node=` says which
replica        an engine's process ends and is started again, without its KV
rail           one switch (or plane) of the links named after it, in the domain of `replica=`, is gone
slow           steps of a replica take `by=` times as long
"""

import difflib
import math
import re
from collections.abc import Mapping, Sequence

from perdure.errors import BadRequest
from perdure.twin.fault import FAULTS_MAX, Fault
from perdure.twin.pool import Pool

KINDS = ("chip", "node", "replica", "rail", "slow")
KEYS: Mapping[str, tuple[str, ...]] = {
    "chip": ("replica", "for", "noticed", "pool"),
    "node": ("node", "replica", "for", "noticed", "pool"),
    "replica": ("replica", "for", "noticed", "pool"),
    "rail": ("replica", "links", "for", "pool"),
    "slow": ("replica", "by", "for", "pool"),
    "deploy": ("each", "drain", "pool"),
}
# A chip that hangs is found by a health check or a time-out; a process that ends closes its connections.
NOTICED_S = {"chip": 10.0, "node": 10.0, "replica": 0.0}
RESTART_S = 60.0
EACH_S, DRAIN_S = 60.0, 120.0
SECONDS = {"": 1.0, "ms": 0.001, "s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0}
HOW = "write KIND@TIME:KEY=VALUE,.. such as chip@600s:replica=3,for=300s"

_TIME = re.compile(r"(?P<number>\d+(\.\d+)?)\s*(?P<unit>ms|s|min|m|h|)")
_TIMES = re.compile(r"(?P<number>\d+(\.\d+)?)\s*x?")


def read_seconds(text: str, what: str) -> float:
    """A time such as `600s`, `10min` or `2h`; BadRequest otherwise."""
    found = _TIME.fullmatch(text.strip())
    if found is None:
        raise BadRequest(f"{what}: {text!r} is no time; write 600s, 10min or 2h", param="fail")
    return float(found["number"]) * SECONDS[found["unit"]]


def parse_faults(fails: Sequence[str], deploys: Sequence[str], pools: Sequence[Pool]) -> tuple[Fault, ...]:
    """Every fault that is written, against the replicas that there are."""
    found = [_fault(text, pools) for text in fails]
    for text in deploys:
        found += _deploy(text, pools, place=len(found))
    if len(found) > FAULTS_MAX:
        raise BadRequest(f"a run has at most {FAULTS_MAX:,} faults, not {len(found):,}", param="fail")
    return tuple(found)


def _fault(text: str, pools: Sequence[Pool]) -> Fault:
    head, _, tail = text.partition(":")
    kind, at, time_text = head.strip().partition("@")
    if kind not in KINDS or not at:
        near = difflib.get_close_matches(kind, KINDS, n=1)
        hint = f"did you mean {near[0]}@? " if near else ""
        raise BadRequest(f"--fail {text!r}: {hint}{HOW}; kinds: {', '.join(KINDS)}", param="fail")
    settings = _settings(tail, KEYS[kind], f"--fail {text!r}")
    at_s = read_seconds(time_text, f"--fail {text!r}")
    pool, first = _pool(settings, pools, f"--fail {text!r}")
    usual_s = RESTART_S if kind == "replica" else math.inf
    lasts_s = read_seconds(settings["for"], text) if "for" in settings else usual_s
    start, stop, slowness = _reach(kind, settings, pool, text)
    noticed_s = NOTICED_S.get(kind, 0.0)
    if "noticed" in settings:
        noticed_s = read_seconds(settings["noticed"], text)
    return Fault(
        what=text.strip(),
        first_replica=first + start,
        replicas=stop - start,
        at_s=at_s,
        for_s=lasts_s,
        noticed_s=noticed_s,
        slowness=slowness,
    )


def _reach(kind: str, settings: Mapping[str, str], pool: Pool, text: str) -> tuple[int, int, float | None]:
    """Which replicas of a pool a fault befalls, and how much slower they are, if they go on."""
    replica = _place("replica", settings.get("replica", "0"), pool.replicas, text)
    if kind == "slow":
        found = _TIMES.fullmatch(settings.get("by", ""))
        if found is None or not 1.0 <= float(found["number"]) <= 1e6:
            raise BadRequest(f"--fail {text!r}: write how much slower, such as by=2x", param="fail")
        return replica, replica + 1, float(found["number"])
    if kind == "node":
        nodes = -(-pool.replicas * pool.chips // pool.node_chips)
        node = replica * pool.chips // pool.node_chips
        if "node" in settings:
            node = _place("node", settings["node"], nodes, text)
        first = node * pool.node_chips // pool.chips
        return first, min(pool.replicas, -(-(node + 1) * pool.node_chips // pool.chips)), None
    if kind == "rail":
        return _rail(settings, pool, replica, text)
    return replica, replica + 1, None


def _rail(settings: Mapping[str, str], pool: Pool, replica: int, text: str) -> tuple[int, int, float]:
    known = [rail.links for rail in pool.rails]
    wanted = settings.get("links", known[0] if known else "")
    rail = next((one for one in pool.rails if one.links == wanted), None)
    if rail is None:
        those = f"links are {', '.join(known)}" if known else "nothing there is joined by switches"
        raise BadRequest(f"--fail {text!r}: {pool.hardware} has no links {wanted!r}; {those}", param="fail")
    if rail.slowness == math.inf:
        raise BadRequest(
            f"--fail {text!r}: {wanted} has a single switch, without which a replica's chips do not "
            "reach each other; write node@ instead",
            param="fail",
        )
    domain = replica * pool.chips // rail.domain_chips
    first = domain * rail.domain_chips // pool.chips
    return first, min(pool.replicas, -(-(domain + 1) * rail.domain_chips // pool.chips)), rail.slowness


def _deploy(text: str, pools: Sequence[Pool], *, place: int) -> list[Fault]:
    """All replicas of a pool, or of all pools, restarted one after the other."""
    head, _, tail = text.strip().partition(",")
    if not head.startswith("@"):
        raise BadRequest(f"--deploy {text!r}: write @TIME,each=60s,drain=120s", param="deploy")
    settings = _settings(tail, KEYS["deploy"], f"--deploy {text!r}")
    at_s = read_seconds(head[1:], f"--deploy {text!r}")
    each_s = read_seconds(settings["each"], text) if "each" in settings else EACH_S
    drain_s = read_seconds(settings["drain"], text) if "drain" in settings else DRAIN_S
    first, count = 0, sum(pool.replicas for pool in pools)
    if "pool" in settings:
        pool, first = _pool(settings, pools, f"--deploy {text!r}")
        count = pool.replicas
    return [
        Fault(
            what=f"deploy {text.strip()}",
            first_replica=first + number,
            at_s=at_s,
            for_s=each_s,
            drain_s=drain_s,
            then=place + number + 1 if number + 1 < count else None,
            follows=number > 0,
        )
        for number in range(count)
    ]


def _settings(text: str, known: Sequence[str], what: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = (word.strip() for word in part.partition("="))
        if key not in known or not (equals and value) or key in found:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]}=? " if near and key not in known else ""
            raise BadRequest(f"{what}: {part!r}: {hint}write each once, of {', '.join(known)}", param="fail")
        found[key] = value
    return found


def _pool(settings: Mapping[str, str], pools: Sequence[Pool], what: str) -> tuple[Pool, int]:
    """The pool that is meant, and its first replica of all."""
    names = [pool.name for pool in pools]
    if "pool" not in settings and len(pools) > 1:
        raise BadRequest(f"{what}: say which pool: pool={' or '.join(names)}", param="fail")
    name = settings.get("pool", names[0])
    if name not in names:
        raise BadRequest(f"{what}: there is no pool {name!r}; pools are {', '.join(names)}", param="fail")
    number = names.index(name)
    return pools[number], sum(pool.replicas for pool in pools[:number])


def _place(key: str, text: str, count: int, what: str) -> int:
    if not text.isdecimal() or int(text) >= count:
        raise BadRequest(f"--fail {what!r}: {key}={text}: write a number from 0 to {count - 1}", param="fail")
    return int(text)
