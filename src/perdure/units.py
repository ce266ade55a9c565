"""What the numbers that cross module borders are counted in.

Quantities carry their unit in the name; these types carry it to the type checker as well. We convert
where we parse and where we print, nowhere else.
"""

import re
from typing import NewType

Seconds = NewType("Seconds", float)
Bytes = NewType("Bytes", int)
Tokens = NewType("Tokens", int)
Flops = NewType("Flops", float)

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

_UNITS = {
    "b": 1.0,
    **{f"{name}b": 1000.0**power for power, name in enumerate("kmgt", start=1)},
    **{f"{name}ib": 1024.0**power for power, name in enumerate("kmgt", start=1)},
}
_SIZE = re.compile(r"(?P<number>\d+(\.\d+)?)\s*(?P<unit>b|[kmgt]i?b)", re.IGNORECASE)


def bytes_text(size_bytes: float) -> str:
    """`size_bytes` for a person: `98.4 MB`, decimal units as disks and networks count them."""
    size = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(size) < 1000 or unit == "TB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError("unreachable: TB ends the loop")


def read_bytes(text: str) -> float | None:
    """What `bytes_text` writes, and binary units: `64GB`, `1.5 TB`, `512MiB`; None where it is no size."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        return None
    return float(found["number"]) * _UNITS[found["unit"].lower()]


def seconds_text(seconds: float) -> str:
    """`seconds` for a person: `430 ms`, `12.3 s`, `4 min 05 s`, `2 h 07 min`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60):02d} min"
