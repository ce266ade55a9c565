"""Rooflines of chips as inline SVG: what each can compute at best, by how much it computes on a byte."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from perdure.catalog.entry import Entry
from perdure.catalog.figure import Case

WIDTH, HEIGHT = 1000, 560
LEFT, RIGHT, TOP, BOTTOM = 62, 150, 20, 48
INTENSITIES = (1.0, 10_000.0)  # FLOP a byte
PEAKS = (0.5e12, 30_000e12)  # FLOP a second
LABEL_STEP = 13.5
HUES = {"T-Head": 18, "NVIDIA": 130, "AMD": 350, "Huawei": 285, "Google": 215, "yours": 45}
OTHER_HUE = 190


@dataclass(frozen=True, slots=True, kw_only=True)
class Roof:
    """One line: bytes and operations a second at the low, mid and high of the guesses."""

    label: str
    hue: int
    title: str
    bytes_per_s: tuple[float, float, float]
    flops_per_s: tuple[float, float, float]

    @property
    def guessed(self) -> bool:
        """Whether it is a band and not a line."""
        return self.bytes_per_s[0] < self.bytes_per_s[2] or self.flops_per_s[0] < self.flops_per_s[2]


def roofs_of_all(entries: Sequence[Entry], precision: str = "bf16") -> list[Roof]:
    """One roof for each chip that computes in `precision`."""
    return [_roof(entry, precision, entry.short_id) for entry in entries if precision in entry.precisions]


def roofs_of_one(entry: Entry) -> list[Roof]:
    """One roof for each precision of a chip."""
    return [_roof(entry, precision, precision.upper()) for precision in entry.precisions]


def roofline_svg(roofs: Sequence[Roof], *, about: str) -> str:
    """The plot, with both axes logarithmic; a guess is a band around its mid."""
    marks = [*_axes(), *_curves(roofs), *_labels(roofs)]
    return (
        f'<svg class="roofline" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(about)}">'
        f"{''.join(marks)}</svg>"
    )


def _roof(entry: Entry, precision: str, label: str) -> Roof:
    peak = entry.figure(f"{precision}_dense_flop_per_s")
    bandwidth = entry.figure("memory_bandwidth_bytes_per_s")
    ends = (Case.WORST, Case.MID, Case.BEST)
    return Roof(
        label=label,
        hue=HUES.get(entry.text("maker") or "", OTHER_HUE),
        title=f"{entry.title}, {precision.upper()}: {peak.text}, {bandwidth.text}",
        bytes_per_s=(bandwidth.at(ends[0]), bandwidth.at(ends[1]), bandwidth.at(ends[2])),
        flops_per_s=(peak.at(ends[0]), peak.at(ends[1]), peak.at(ends[2])),
    )


def _x(intensity: float) -> float:
    low, high = (math.log10(end) for end in INTENSITIES)
    return LEFT + (math.log10(intensity) - low) / (high - low) * (WIDTH - LEFT - RIGHT)


def _y(flops_per_s: float) -> float:
    low, high = (math.log10(end) for end in PEAKS)
    share = (math.log10(min(max(flops_per_s, PEAKS[0]), PEAKS[1])) - low) / (high - low)
    return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def _corners(bytes_per_s: float, flops_per_s: float) -> list[tuple[float, float]]:
    """Up the slope of memory, then along the ceiling of compute."""
    first = max(INTENSITIES[0], PEAKS[0] / bytes_per_s)
    ridge = min(max(flops_per_s / bytes_per_s, first), INTENSITIES[1])
    return [
        (_x(first), _y(first * bytes_per_s)),
        (_x(ridge), _y(ridge * bytes_per_s)),
        (_x(INTENSITIES[1]), _y(flops_per_s)),
    ]


def _path(corners: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in corners)


def _curves(roofs: Sequence[Roof]) -> Iterator[str]:
    for roof in roofs:
        low, mid, high = (
            _corners(bytes_per_s, flops_per_s)
            for bytes_per_s, flops_per_s in zip(roof.bytes_per_s, roof.flops_per_s, strict=True)
        )
        yield f'<g class="roof" style="--hue:{roof.hue}"><title>{escape(roof.title)}</title>'
        if roof.guessed:
            yield f'<path class="band" d="{_path([*low, *reversed(high)])}Z"/>'
        dash = ' stroke-dasharray="6 4"' if roof.guessed else ""
        yield f'<path class="line" d="{_path(mid)}"{dash}/></g>'


def _labels(roofs: Sequence[Roof]) -> Iterator[str]:
    """Names at the right end, pushed apart where ceilings are close."""
    ordered = sorted(roofs, key=lambda roof: -roof.flops_per_s[1])
    wanted = [_y(roof.flops_per_s[1]) for roof in ordered]
    x = _x(INTENSITIES[1])
    for roof, y, at in zip(ordered, wanted, _apart(wanted), strict=True):
        yield f'<g class="roof" style="--hue:{roof.hue}"><title>{escape(roof.title)}</title>'
        yield f'<path class="lead" d="M{x:.1f},{y:.1f}L{x + 24:.1f},{at:.1f}"/>'
        yield f'<text x="{x + 28:.1f}" y="{at + 4:.1f}">{escape(roof.label)}</text></g>'


def _apart(wanted: Sequence[float]) -> list[float]:
    """Rising places as near as can be to `wanted`, LABEL_STEP apart: crowded ones spread about their mean."""
    blocks: list[tuple[float, int]] = []  # sum of wanted places less the steps before them, and how many
    for index, place in enumerate(wanted):
        blocks.append((place - index * LABEL_STEP, 1))
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] >= blocks[-1][0] / blocks[-1][1]:
            total, count = blocks.pop()
            before, earlier = blocks.pop()
            blocks.append((before + total, earlier + count))
    starts = [total / count for total, count in blocks for _ in range(count)]
    places = [start + index * LABEL_STEP for index, start in enumerate(starts)]
    low, high = TOP + LABEL_STEP / 2, HEIGHT - BOTTOM
    shift = max(0.0, low - min(places, default=low)) - max(0.0, max(places, default=high) - high)
    return [place + shift for place in places]


def _axes() -> Iterator[str]:
    left, right, top, bottom = LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM
    for power in range(int(math.log10(INTENSITIES[0])), int(math.log10(INTENSITIES[1])) + 1):
        x = _x(10.0**power)
        yield f'<path class="grid" d="M{x:.1f},{top}V{bottom}"/>'
        yield f'<text class="tick" x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{10**power:,}</text>'
    for peak in (1e12, 1e13, 1e14, 1e15, 1e16):
        y = _y(peak)
        yield f'<path class="grid" d="M{left},{y:.1f}H{right}"/>'
        yield (
            f'<text class="tick" x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{peak / 1e12:,.0f}</text>'
        )
    yield (
        f'<text class="axis" x="{(left + right) / 2}" y="{HEIGHT - 8}" text-anchor="middle">'
        "FLOP for each byte of memory traffic</text>"
    )
    yield (
        f'<text class="axis" x="16" y="{(top + bottom) / 2}" text-anchor="middle" '
        f'transform="rotate(-90 16 {(top + bottom) / 2})">TFLOP/s at best</text>'
    )
