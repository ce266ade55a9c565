"""Which kernels may be tried: the declared space, its JSON schema, and the C source of each point."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import msgspec
from kernel_machine import cpu_flags, vector_floats_max

from perdure.errors import BadRequest
from perdure.processes import usable_cores
from perdure.rng import Rng, seeded

THREADS_MAX = 16
CHANGES_MAX = 3
# exp(r) on |r| <= ln(2)/2, least squares for the relative error: at most 8e-8 and 3e-6.
POLYNOMIALS = {
    "p5": (1.000000071, 0.9999996662, 0.4999889908, 0.1666766284, 0.04191502854, 0.008291716708),
    "p4": (0.9999991909, 0.9999636255, 0.5000485045, 0.1679066064, 0.04141705601),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One kernel of the space.

    vec      floats per vector; 1 leaves vectors to the compiler
    rows     rows held in registers at once; a row is one query of one of the heads that share a KV head
    unroll   vectors held in registers at once, for each row
    threads  cores that work
    pin      1 starts each thread on a core of its own, 0 leaves that to the system
    layout   `packed` transposes each tile of keys first, `direct` sums across vectors
    order    outer loop: `q` packs a tile for each tile of rows, `kv` once for all rows of a head
    exp      the exponential: libm's, a polynomial, or `bits`, which is fast and too coarse
    acc      what sums are held in
    q        rows that share a tile of keys
    kv       keys per tile
    prefetch rows of K and V that are fetched ahead
    """

    vec: int
    rows: int
    unroll: int
    threads: int
    pin: Literal[0, 1]
    layout: Literal["direct", "packed"]
    order: Literal["q", "kv"]
    exp: Literal["libm", "p5", "p4", "bits"]
    acc: Literal["float", "double"]
    q: int
    kv: int
    prefetch: int


# Where every session begins: tiled, four floats at a time, nothing else. Legal on every machine.
START = Point(
    vec=4,
    rows=1,
    unroll=1,
    threads=1,
    pin=0,
    layout="direct",
    order="q",
    exp="libm",
    acc="float",
    q=32,
    kv=64,
    prefetch=0,
)


@dataclass(frozen=True, slots=True)
class Space:
    """The legal values of each field of a `Point` on one machine; every combination is legal."""

    values: dict[str, tuple[Any, ...]]

    @property
    def size(self) -> int:
        """How many points there are."""
        return math.prod(len(values) for values in self.values.values())

    @property
    def changes(self) -> tuple[str, ...]:
        """Every legal change of one field, written `field=value`.

        Shuffled once and for all: a small model copies runs of the list that it is shown; in a sorted list a
        run is three values for one field.
        """
        listed = [f"{name}={value}" for name, values in self.values.items() for value in values]
        seeded(0, "order in which changes are listed").shuffle(listed)
        return tuple(listed)

    def schema(self) -> dict[str, Any]:
        """The JSON schema that accepts exactly the lists of legal changes, as `{"change": [...]}`."""
        change = {
            "type": "array",
            "items": {"enum": list(self.changes)},
            "minItems": 1,
            "maxItems": CHANGES_MAX,
        }
        return {
            "type": "object",
            "properties": {"change": change},
            "required": ["change"],
            "additionalProperties": False,
        }

    def changed(self, point: Point, changes: Sequence[str]) -> Point:
        """`point` with `changes` made to it, the later over the earlier. BadRequest names an illegal one."""
        fields = asdict(point)
        if not 1 <= len(changes) <= CHANGES_MAX:
            raise BadRequest(f"make 1 to {CHANGES_MAX} changes, not {len(changes)}", param="change")
        for change in changes:
            if change not in self.changes:
                raise BadRequest(f"{change!r} is not legal; {self._legal(change)}", param="change")
            name, _, written = change.partition("=")
            fields[name] = next(value for value in self.values[name] if str(value) == written)
        return msgspec.convert(fields, Point)

    def draw(self, rng: Rng) -> Point:
        """A point drawn uniformly."""
        return msgspec.convert({name: rng.choice(values) for name, values in self.values.items()}, Point)

    def draw_changes(self, rng: Rng) -> list[str]:
        """One to `CHANGES_MAX` changes of different fields, drawn uniformly: a model's moves by chance."""
        names = rng.sample(list(self.values), rng.randint(1, CHANGES_MAX))
        return [f"{name}={rng.choice(self.values[name])}" for name in names]

    def _legal(self, change: str) -> str:
        name = change.partition("=")[0]
        if name in self.values:
            return f"{name} is one of {', '.join(str(value) for value in self.values[name])}"
        return f"the parameters are {', '.join(self.values)}"


def space_of(*, cores: int, vector_floats: int) -> Space:
    """The space on a machine with so many usable cores and so wide vectors."""
    threads = sorted({1, *(n for n in (2, 4, 8) if n < cores), min(cores, THREADS_MAX)})
    return Space(
        {
            "vec": tuple(n for n in (1, 4, 8, 16) if n <= vector_floats),
            "rows": (1, 2, 4, 8),
            "unroll": (1, 2, 4),
            "threads": tuple(threads),
            "pin": (0, 1),
            "layout": ("direct", "packed"),
            "order": ("q", "kv"),
            "exp": ("libm", "p5", "p4", "bits"),
            "acc": ("float", "double"),
            "q": (8, 16, 32, 64, 128),
            "kv": (64, 128, 256, 512),
            "prefetch": (0, 4, 16, 64),
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


def written(point: Point) -> str:
    """The point as all its changes, in the order of the fields."""
    return " ".join(f"{name}={value}" for name, value in asdict(point).items())
