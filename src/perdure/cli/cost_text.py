"""How the cost of a batch looks in a terminal: the totals, where the seconds go, and what it rests on."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from perdure.catalog.figure import Figure, Status
from perdure.cli.cost_answer import Cost
from perdure.models.batch_text import batch_text
from perdure.models.cost import Line
from perdure.silicon.efficiency import Factor
from perdure.silicon.ranges import DRAWS, Range
from perdure.silicon.shapes import Message
from perdure.units import bytes_text

ROWS_MAX = 12
_TIME_UNITS = ((1e-3, 1e-6, "us"), (1.0, 1e-3, "ms"), (float("inf"), 1.0, "s"))
_COUNT_UNITS = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def cost_text(cost: Cost) -> Group:
    """Everything, to print with rich."""
    return Group(
        Text(_title(cost), style="bold"),
        Text(batch_text(cost.batch)),
        Text(),
        _totals(cost),
        Text(),
        _operations(cost),
        Text(),
        *(Padding(Text(note), (0, 0, 0, 2)) for note in _notes(cost)),
    )


def _title(cost: Cost) -> str:
    deployment = cost.deployment
    layout = deployment.parallel.text
    more = f"; {deployment.instances} such instances fit" if deployment.instances > 1 else ""
    return (
        f"{deployment.architecture.name} in {deployment.precision.name} on {deployment.hardware} "
        f"({layout}{more})"
    )


def _totals(cost: Cost) -> Table:
    price, shares = cost.price, dict(cost.price.spent.shares)
    bound = price.spent.bound
    share = shares[bound] / price.spent.seconds if price.spent.seconds else 0.0
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_row("seconds", _seconds(price.seconds), f"bound by {bound}, {share:.0%} of the time")
    table.add_row("energy", *_energy(cost))
    table.add_row("money", *_money(cost))
    table.add_row("memory", *_memory(cost))
    return table


def _energy(cost: Cost) -> tuple[str, str]:
    price = cost.price
    if price.energy_j is None:
        return "-", "the catalogue has no power of this chip"
    electricity = price.electricity_usd
    paid = f"; electricity ${_digits(electricity.mid)}" if electricity else ""
    return _amount(price.energy_j, "J"), f"of the chips alone{paid}"


def _money(cost: Cost) -> tuple[str, str]:
    price, rent = cost.price, cost.deployment.rent
    if price.money_usd is None or rent is None:
        chip = cost.deployment.chip
        return "-", f"no rent of {chip.title} is public; add --price {chip.short_id}=LOW..HIGH"
    hourly = rent.usd_per_h
    each = f"{hourly.low:.2f} to {hourly.high:.2f}" if hourly.guessed else f"{hourly.mid:.2f}"
    return _amount(price.money_usd, "$"), f"at ${each} a chip and hour"


def _memory(cost: Cost) -> tuple[str, str]:
    memory = cost.memory
    parts = (
        ("weights", memory.weights_bytes),
        ("cache", memory.kv_bytes),
        ("states", memory.state_bytes),
        ("activations", memory.activation_bytes),
        ("reserve", memory.reserve_bytes),
    )
    listed = ", ".join(f"{name} {bytes_text(size)}" for name, size in parts if size)
    total = f"{bytes_text(memory.needed_bytes)} of {bytes_text(memory.available_bytes)}"
    return total, f"a chip: {listed}"


@dataclass(frozen=True, slots=True)
class _Row:
    """Operations of one name together."""

    name: str
    lines: tuple[Line, ...]

    @property
    def seconds(self) -> float:
        """Of all of them."""
        return sum(line.spent.seconds for line in self.lines)


def _operations(cost: Cost) -> Table:
    """Where the seconds go, most first; small ones together."""
    rows = _rows(cost.price.lines)
    cut = len(rows) if len(rows) <= ROWS_MAX + 1 else ROWS_MAX
    shown, rest = rows[:cut], rows[cut:]
    total_s = cost.price.spent.seconds
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("operation", no_wrap=True)
    for heading in ("×", "FLOP", "bytes", "floor×", "time", "share"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("bound", no_wrap=True)
    for row in shown:
        table.add_row(row.name, *_cells(row), _time(row.seconds), f"{row.seconds / total_s:.0%}", _bound(row))
    if rest:
        seconds = sum(row.seconds for row in rest)
        table.add_row(f"{len(rest)} more", "", "", "", "", _time(seconds), f"{seconds / total_s:.0%}", "")
    software_s = cost.price.spent.software_s
    if software_s:
        table.add_row(
            "software", "1", "", "", "", _time(software_s), f"{software_s / total_s:.0%}", "software"
        )
    return table


def _rows(lines: Sequence[Line]) -> list[_Row]:
    names = dict.fromkeys(line.operation.name for line in lines)
    rows = [_Row(name, tuple(line for line in lines if line.operation.name == name)) for name in names]
    return sorted(rows, key=lambda row: -row.seconds)


def _cells(row: _Row) -> tuple[str, str, str, str]:
    """How often, FLOPs, bytes, and measured over floor where that is known."""
    counts = [line.operation.repeats * line.operation.alike for line in row.lines]
    shapes = [(line.operation.shape, count) for line, count in zip(row.lines, counts, strict=True)]
    flops = sum(shape.flops * count for shape, count in shapes if not isinstance(shape, Message))
    moved = sum(
        (shape.message_bytes if isinstance(shape, Message) else shape.bytes_moved) * count
        for shape, count in shapes
    )
    return f"{sum(counts):,.0f}", _count(flops), _count(moved), _stretch(row)


def _stretch(row: _Row) -> str:
    """How many times the floor the seconds are, launches among them; a message's time is measured as such."""
    if any(isinstance(line.operation.shape, Message) for line in row.lines):
        return ""
    floor_s = sum(line.spent.busy_s for line in row.lines)
    return f"{row.seconds / floor_s:.1f}" if floor_s else ""


def _bound(row: _Row) -> str:
    return max(row.lines, key=lambda line: line.spent.seconds).spent.bound


def _notes(cost: Cost) -> list[str]:
    price, deployment = cost.price, cost.deployment
    notes = [f"efficiency: {deployment.efficiency.name}"]
    notes += [f"GUESS: {_label(figure)} {figure.text}: {figure.source}" for figure in _guessed(cost.figures)]
    notes += [f"GUESS: {_times(factor)}{factor.source}" for factor in _guesses_of_factors(price.factors)]
    if deployment.rent:
        notes.append(f"rent ({deployment.rent.status}): {deployment.rent.source}")
    if cost.break_even:
        notes.append("It costs as much as on another chip where this chip's hour is rented at")
        notes += [f"  {_amount(found.usd_per_h, '$')}, for {found.than}" for found in cost.break_even]
    if deployment.model.text("stands_in_for"):
        notes.append(f"{deployment.model.title} stands in for {deployment.model.text('stands_in_for')}")
    if price.guessed or cost.break_even:
        notes.append(
            f"Ranges hold nine in ten of {DRAWS} joint draws of the guesses; "
            "before them is every guess at its mid."
        )
    return notes


def _guessed(figures: Sequence[Figure]) -> list[Figure]:
    return list({(figure.owner, figure.name): figure for figure in figures if figure.guessed}.values())


def _guesses_of_factors(factors: Sequence[Factor]) -> list[Factor]:
    """One for each source: the widest."""
    guesses = [factor for factor in factors if factor.status is Status.ESTIMATE]
    widest: dict[str, Factor] = {}
    for factor in guesses:
        known = widest.get(factor.source)
        if known is None or factor.times.high > known.times.high:
            widest[factor.source] = factor
    return list(widest.values())


def _times(factor: Factor) -> str:
    """By how much kernels fall short of their floor; nothing where only what is added was guessed."""
    times = factor.times
    if not times.guessed:
        return ""
    return f"kernels take {times.low:.2f} to {times.high:.2f} times their floor (mid {times.mid:.2f}): "


def _label(figure: Figure) -> str:
    """What a figure is of, for a person: `zhenwu-m890 memory bandwidth`."""
    owner = figure.owner.partition("/")[2].replace("/", " ")
    return f"{owner} {figure.quantity.replace('_dense', ' compute').replace('_', ' ')}"


def _time(seconds: float) -> str:
    """`13.4 ms`: three digits in the unit that suits."""
    scale, unit = next((scale, unit) for below_s, scale, unit in _TIME_UNITS if seconds < below_s)
    return f"{_digits(seconds / scale)} {unit}"


def _seconds(found: Range) -> str:
    """The mid, and both ends in its unit: `13.4 ms (11.2 to 20.1)`."""
    scale, unit = next((scale, unit) for below_s, scale, unit in _TIME_UNITS if found.mid < below_s)
    mid = f"{_digits(found.mid / scale)} {unit}"
    if not found.guessed:
        return mid
    return f"{mid} ({_digits(found.low / scale)} to {_digits(found.high / scale)})"


def _amount(found: Range, unit: str) -> str:
    """`$0.0012 (0.0010 to 0.0015)`, `310 J (250 to 420)`."""
    low, mid, high = (_digits(value) for value in (found.low, found.mid, found.high))
    head = f"${mid}" if unit == "$" else f"{mid} {unit}"
    return f"{head} ({low} to {high})" if found.guessed else head


def _digits(number: float) -> str:
    """Three significant digits."""
    if number >= 100:
        return f"{number:,.0f}"
    if number >= 10:
        return f"{number:.1f}"
    if number >= 1:
        return f"{number:.2f}"
    return f"{number:.3g}" if number >= 1e-4 or number == 0 else f"{number:.1e}"


def _count(number: float) -> str:
    """`6.2T`: two digits and a prefix."""
    if number == 0:
        return ""
    for scale, prefix in _COUNT_UNITS:
        if number >= scale:
            return f"{number / scale:.{0 if number >= 100 * scale else 1}f}{prefix}"
    return f"{number:.0f}"
