"""Which kernels may be tried: the declared space, its JSON schema, and the C source of each point."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import msgspec
from kernel_machine import cpu_flags, vector_floats_max

from perdure.errors import BadRequest
from perdure.processes import usable_cores
from perdure.rng import Rng

THREADS_MAX = 16
# exp(r) on |r| <= ln(2)/2, least squares for the relative error: at most 8e-8 and 3e-6.
POLYNOMIALS = {
    "p5": (1.000000071, 0.9999996662, 0.4999889908, 0.1666766284, 0.04191502854, 0.008291716708),
    "p4": (0.9999991909, 0.9999636255, 0.5000485045, 0.1679066064, 0.04141705601),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One kernel of the space.

    q        rows (query, head of one KV head) that share a tile of keys
    kv       keys per tile
    rows     rows held in registers at once
    unroll   vectors held in registers at once, for each row
    vec      floats per vector; 1 leaves vectors to the compiler
    layout   `packed` transposes each tile of keys first, `direct` sums across vectors
    order    outer loop: `q` packs a tile for each tile of rows, `kv` once for all rows of a head
    exp      the exponential: libm's, a polynomial, or `bits`, which is fast and too coarse
    acc      what sums are held in
    prefetch rows of K and V that are fetched ahead
    threads  cores that work
    pin      1 starts each thread on a core of its own, 0 leaves that to the system
    """

    q: int
    kv: int
    rows: int
    unroll: int
    vec: int
    layout: Literal["direct", "packed"]
    order: Literal["q", "kv"]
    exp: Literal["libm", "p5", "p4", "bits"]
    acc: Literal["float", "double"]
    prefetch: int
    threads: int
    pin: Literal[0, 1]


@dataclass(frozen=True, slots=True)
class Space:
    """The legal values of each field of a `Point` on one machine; every combination is legal."""

    values: dict[str, tuple[Any, ...]]

    @property
    def size(self) -> int:
        """How many points there are."""
        size = 1
        for values in self.values.values():
            size *= len(values)
        return size

    def schema(self) -> dict[str, Any]:
        """The JSON schema that accepts exactly the legal points."""
        return {
            "type": "object",
            "properties": {name: {"enum": list(values)} for name, values in self.values.items()},
            "required": list(self.values),
            "additionalProperties": False,
        }

    def parse(self, arguments: dict[str, Any]) -> Point:
        """The point that `arguments` name, or BadRequest that names the wrong field and its legal values."""
        chosen: dict[str, Any] = {}
        for name, values in self.values.items():
            given = arguments.get(name)
            if isinstance(given, bool) or given not in values:
                legal = ", ".join(str(one) for one in values)
                raise BadRequest(f"{name}={given!r} is not legal; use one of {legal}", param=name)
            chosen[name] = values[values.index(given)]  # 8.0 is 8 in JSON
        unknown = sorted(set(arguments) - set(self.values))
        if unknown:
            raise BadRequest(f"{unknown[0]!r} is not a parameter; there are {', '.join(self.values)}")
        return msgspec.convert(chosen, Point)

    def draw(self, rng: Rng) -> Point:
        """A point drawn uniformly."""
        return msgspec.convert({name: rng.choice(values) for name, values in self.values.items()}, Point)


def space_of(*, cores: int, vector_floats: int) -> Space:
    """The space on a machine with so many usable cores and so wide vectors."""
    threads = sorted({1, *(n for n in (2, 4, 8) if n < cores), min(cores, THREADS_MAX)})
    return Space(
        {
            "q": (8, 16, 32, 64, 128),
            "kv": (64, 128, 256, 512),
            "rows": (1, 2, 4, 8),
            "unroll": (1, 2, 4),
            "vec": tuple(n for n in (1, 4, 8, 16) if n <= vector_floats),
            "layout": ("direct", "packed"),
            "order": ("q", "kv"),
            "exp": ("libm", "p5", "p4", "bits"),
            "acc": ("float", "double"),
            "prefetch": (0, 4, 16, 64),
            "threads": tuple(threads),
            "pin": (0, 1),
        }
    )


def machine_space() -> Space:
    """The space on this machine."""
    return space_of(cores=usable_cores(), vector_floats=vector_floats_max(cpu_flags()))


def source_of(point: Point, template: str) -> str:
    """The C source of `point`, the same every time."""
    wide = point.acc == "double"
    defines = {
        "Q_TILE": point.q,
        "KV_TILE": point.kv,
        "ROWS": point.rows,
        "UNROLL": point.unroll,
        "VECTOR": point.vec,
        "PACKED": int(point.layout == "packed"),
        "KEYS_OUTSIDE": int(point.order == "kv"),
        "EXP_LIBM": int(point.exp == "libm"),
        "EXP_BITS": int(point.exp == "bits"),
        "PREFETCH": point.prefetch,
        "THREADS": point.threads,
        "PINNED": point.pin,
    }
    lines = [f"#define {name} {value}" for name, value in defines.items()]
    lines += [f"typedef {point.acc} acc_t;", f"typedef {'int64_t' if wide else 'int32_t'} lane_t;"]
    return (
        template.replace("@DEFINES@", "\n".join(lines))
        .replace("@LANES@", ", ".join(str(lane) for lane in range(point.vec)))
        .replace("@POLYNOMIAL@", _horner(POLYNOMIALS.get(point.exp, POLYNOMIALS["p5"])))
    )


def _horner(coefficients: tuple[float, ...]) -> str:
    """The polynomial in `r` as a C expression."""
    *lower, expression = (f"{one!r}f" for one in coefficients)
    for one in reversed(lower):
        expression = f"({one} + r * {expression})"
    return expression


def written(point: Point) -> dict[str, Any]:
    """The point as the JSON object that names it."""
    return asdict(point)
