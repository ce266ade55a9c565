"""What is said of tenants by name: how many calls they may have under way, how urgent they are."""

import difflib
from collections.abc import Sequence

from perdure.errors import BadRequest

QUOTA_MAX = 1_000_000
PRIORITY_MAX = 1000


def parse_quotas(texts: Sequence[str], tenants: Sequence[str]) -> tuple[int | None, ...]:
    """[tenant] of `NAME=N`; None where nothing is said."""
    return _by_tenant(texts, tenants, what="quota", low=1, high=QUOTA_MAX, usual=None)


def parse_priorities(texts: Sequence[str], tenants: Sequence[str]) -> tuple[int, ...]:
    """[tenant] of `NAME=N`; 0 where nothing is said."""
    found = _by_tenant(texts, tenants, what="priority", low=-PRIORITY_MAX, high=PRIORITY_MAX, usual=0)
    return tuple(one or 0 for one in found)


def _by_tenant(
    texts: Sequence[str], tenants: Sequence[str], *, what: str, low: int, high: int, usual: int | None
) -> tuple[int | None, ...]:
    if not texts:
        return ()
    said: dict[str, int] = {}
    for text in texts:
        name, _, number = text.rpartition("=")
        if name not in tenants:
            near = difflib.get_close_matches(name, tenants, n=1) or list(tenants[:3])
            raise BadRequest(
                f"--{what} {text}: the workload has no tenant {name!r}; write NAME=N, such as {near[0]}=4",
                param=what,
            )
        if not number.lstrip("-").isdecimal() or not low <= int(number) <= high or name in said:
            raise BadRequest(
                f"--{what} {text}: write a whole number from {low:,} to {high:,}, once for each", param=what
            )
        said[name] = int(number)
    return tuple(said.get(name, usual) for name in tenants)
