"""How curves and bars are drawn as SVG that needs neither script nor network."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from perdure.models.cost_compiled import Floats

WIDTH, HEIGHT = 440.0, 220.0
LEFT, RIGHT, TOP, BOTTOM = 44.0, 14.0, 10.0, 38.0
TICKS_MAX = 6
LOG_RATIO = 20.0  # an axis of times whose ends are further apart is logarithmic

_TIMES = (
    *((10.0**power, f"{10 ** (power + 6):,} µs") for power in (-6, -5, -4)),
    *((10.0**power, f"{10 ** (power + 3):,} ms") for power in (-3, -2, -1)),
    *((1.0, "1 s"), (10.0, "10 s"), (60.0, "1 min"), (600.0, "10 min"), (3600.0, "1 h"), (36e3, "10 h")),
    *((360e3, "100 h"), (3600e3, "1,000 h")),
)
_SPANS = ((1e-3, 1e-6, "µs"), (1.0, 1e-3, "ms"), (180.0, 1.0, "s"), (10_800.0, 60.0, "min"))
_SIZES = ((1e6, 1e3, "kB"), (1e9, 1e6, "MB"), (1e12, 1e9, "GB"), (1e15, 1e12, "TB"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """From `low` to `high`, with the ticks that are drawn: place and text."""

    title: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    logarithmic: bool = False

    def share(self, value: float) -> float:
        """How far along the axis a value lies, from 0 to 1."""
        value = min(max(value, self.low), self.high)
        if self.logarithmic:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Values over x. `floor`, where given, is what the area under the curve stands on."""

    title: str
    x: Floats
    y: Floats
    colour: int
    floor: Floats | None = None
    dashed: bool = False


def count_axis(title: str, high: float) -> Axis:
    """From zero to a little above `high`."""
    return _linear(title, 0.0, max(high, 1.0), 1.0, step_min=1.0)


def bytes_axis(title: str, high: float) -> Axis:
    """The same for sizes; the unit is added to the title."""
    scale, unit = next(((scale, unit) for below, scale, unit in _SIZES if high < below), (1e15, "PB"))
    return _linear(_titled(title, unit), 0.0, max(high, 1.0), scale)


def share_axis(title: str) -> Axis:
    """From nothing to all."""
    ticks = tuple((tenths / 10, f"{10 * tenths} %") for tenths in (0, 2, 4, 6, 8, 10))
    return Axis(title=title, low=0.0, high=1.0, ticks=ticks)


def seconds_axis(title: str, low: float, high: float) -> Axis:
    """Times from `low` to `high`: logarithmic where they are far apart."""
    if low > 0 and high / low > LOG_RATIO:
        first = max((value for value, _ in _TIMES if value <= low), default=low)
        last = min((value for value, _ in _TIMES if value >= high), default=high)
        ticks = tuple((value, text) for value, text in _TIMES if first <= value <= last)
        return Axis(title=title, low=first, high=last, ticks=ticks, logarithmic=True)
    scale, unit = next(((scale, unit) for below, scale, unit in _SPANS if high < below), (3600.0, "h"))
    return _linear(_titled(title, unit), low, high if high > low else low + scale, scale, loose=False)


def chart(curves: Sequence[Curve], x: Axis, y: Axis, *, about: str, steps: bool = False) -> str:
    """Curves over one another; with `steps` a value holds from the x before it up to its own."""
    body = "".join([*_grid(x, y), *(_curve(curve, x, y, steps=steps) for curve in curves)])
    return f'<svg viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" role="img" aria-label="{escape(about)}">{body}</svg>'


def bar(parts: Sequence[tuple[float, int, str]], *, about: str) -> str:
    """One horizontal bar as wide as it is given room: shares of the whole, each with colour and title."""
    x, body = 0.0, ""
    for share, colour, title in parts:
        body += (
            f'<rect class="fill c{colour}" x="{x * 100:.3f}" width="{share * 100:.3f}" height="10">'
            f"<title>{escape(title)}</title></rect>"
        )
        x += share
    return (
        '<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(about)}">{body}</svg>'
    )


def _titled(title: str, unit: str) -> str:
    return f"{title}, {unit}" if title else unit


def _linear(
    title: str, low: float, high: float, scale: float, *, loose: bool = True, step_min: float = 0.0
) -> Axis:
    """Ticks at round numbers of the unit that is `scale` large; `loose` ends at one of them."""
    step = max(step_min, _round_step((high - low) / scale))
    first = math.ceil(low / scale / step - 1e-9)
    last = math.ceil(high / scale / step - 1e-9) if loose else math.floor(high / scale / step + 1e-9)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    ticks = tuple(
        (number * step * scale, f"{number * step:,.{decimals}f}") for number in range(first, last + 1)
    )
    return Axis(title=title, low=low, high=max(high, ticks[-1][0]) if loose and ticks else high, ticks=ticks)


def _round_step(span: float) -> float:
    """1, 2 or 5 times a power of ten, such that few of them make `span`."""
    power = 10.0 ** math.floor(math.log10(span / TICKS_MAX))
    return next(power * factor for factor in (1, 2, 5, 10) if span / (power * factor) <= TICKS_MAX)


def _x(axis: Axis, value: float) -> float:
    return LEFT + axis.share(value) * (WIDTH - LEFT - RIGHT)


def _y(axis: Axis, value: float) -> float:
    return HEIGHT - BOTTOM - axis.share(value) * (HEIGHT - TOP - BOTTOM)


def _grid(x: Axis, y: Axis) -> Iterator[str]:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    for value, text in y.ticks:
        at = _y(y, value)
        yield f'<path class="grid" d="M{LEFT},{at:.1f}H{right}"/>'
        yield f'<text class="tick" x="{LEFT - 5}" y="{at + 4:.1f}" text-anchor="end">{escape(text)}</text>'
    for value, text in x.ticks:
        at = _x(x, value)
        yield f'<path class="grid" d="M{at:.1f},{TOP}V{bottom}"/>'
        yield f'<text class="tick" x="{at:.1f}" y="{bottom + 15}" text-anchor="middle">{escape(text)}</text>'
    middle = (LEFT + right) / 2
    yield f'<text class="axis" x="{middle}" y="{HEIGHT - 5}" text-anchor="middle">{escape(x.title)}</text>'


def _curve(curve: Curve, x: Axis, y: Axis, *, steps: bool) -> str:
    if not len(curve.x):
        return ""
    line = _path(curve.x, curve.y, x, y, steps=steps)
    title = f"<title>{escape(curve.title)}</title>"
    area = ""
    if curve.floor is not None:
        back = _backwards(curve.x, curve.floor, x, y, steps=steps)
        area = f'<path class="area c{curve.colour}" d="{line}{back}Z">{title}</path>'
    dash = ' stroke-dasharray="5 4"' if curve.dashed else ""
    return f'{area}<path class="curve c{curve.colour}" d="{line}"{dash}>{title}</path>'


def _path(xs: Floats, ys: Floats, x: Axis, y: Axis, *, steps: bool) -> str:
    places = [(_x(x, float(at)), _y(y, float(value))) for at, value in zip(xs, ys, strict=True)]
    first = f"M{places[0][0]:.1f},{places[0][1]:.1f}"
    if steps:
        return first + "".join(f"V{up:.1f}H{along:.1f}" for along, up in places[1:])
    return first + "".join(f"L{along:.1f},{up:.1f}" for along, up in places[1:])


def _backwards(xs: Floats, ys: Floats, x: Axis, y: Axis, *, steps: bool) -> str:
    """The same curve from its end to its begin, as the lower edge of an area."""
    places = [(_x(x, float(at)), _y(y, float(value))) for at, value in zip(xs, ys, strict=True)]
    path = f"L{places[-1][0]:.1f},{places[-1][1]:.1f}"
    for number in range(len(places) - 2, -1, -1):
        along, up = places[number]
        if steps:
            path += f"V{places[number + 1][1]:.1f}H{along:.1f}"
        else:
            path += f"L{along:.1f},{up:.1f}"
    return path
