"""What one batch costs on an instance of a model: seconds, joules, dollars, and each operation's part.

This is the one cost model: the twin simulates with it, the live scheduler decides with it, the bill counts
with it. Here it is plain Python, one operation after another; `cost_table` has the same numbers as a table.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from perdure.catalog.figure import Case, Figure
from perdure.models.batch import Batch, Sums
from perdure.models.memory import Memory, memory_of, stage_share
from perdure.models.operations import Lowering
from perdure.silicon.efficiency import UNCALIBRATED, Borrowing, Efficiency, Factor
from perdure.silicon.energy import Electricity, energy_j
from perdure.silicon.price import Machine, Rating, rate
from perdure.silicon.price_machine import Hardware
from perdure.silicon.price_rent import SECONDS_PER_HOUR, Rent
from perdure.silicon.ranges import Range, any_guessed, range_of
from perdure.silicon.roofline import Operation, Spent
from perdure.silicon.shapes import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One operation's part of a price, with every guess at its mid."""

    operation: Operation
    factor: Factor
    spent: Spent

    @property
    def times_floor(self) -> Range | None:
        """How many times its floor it takes, launches and sampling among it; None of a message."""
        if isinstance(self.operation.shape, Message) or not self.spent.busy_s:
            return None
        times, mid = self.factor.times, self.spent.seconds / self.spent.busy_s
        return Range(low=mid - times.mid + times.low, mid=mid, high=mid - times.mid + times.high)


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a batch costs.

    seconds       from its start until its last token is out of the last stage
    chip_seconds  that its chips are held: all of them, for the time of a pipeline's fullest stage
    spent         where the seconds go, with every guess at its mid
    energy_j      of the chips alone; None where their power is not known
    money_usd     rent, electricity in it; None without a rent
    electricity_usd  of that, what the joules cost; None where no site is given
    """

    seconds: Range
    chip_seconds: Range
    spent: Spent
    lines: tuple[Line, ...]
    energy_j: Range | None
    money_usd: Range | None
    electricity_usd: Range | None
    factors: tuple[Factor, ...]

    @property
    def guessed(self) -> bool:
        """Whether any of it is a range, and so drawn."""
        found = (self.seconds, self.chip_seconds, self.energy_j, self.money_usd, self.electricity_usd)
        return any(one is not None and one.guessed for one in found)


@dataclass(frozen=True, kw_only=True)
class Instance:
    """One instance of a model on hardware, with how far its kernels fall short of the roofline."""

    lowering: Lowering
    hardware: Hardware
    efficiency: Efficiency = UNCALIBRATED
    rent: Rent | None = None
    electricity: Electricity | None = None

    def price(self, batch: Batch) -> Price:
        """What `batch` costs; raises BadRequest where the chip lacks the precision."""
        return self.price_of(self.lowering.sums(batch))

    def price_of(self, sums: Sums) -> Price:
        """What any batch of these sums costs."""
        rating = self.rating(sums)
        drawn = self._drawn(rating)
        mid = self.hardware.mid, rating.spent(self.hardware.mid)

        def over(value: Callable[[Machine, Spent], float]) -> Range:
            return range_of(value(*mid), [value(machine, spent) for machine, spent in drawn])

        rent, electricity = self.rent, self.electricity
        known = self.hardware.mid.chip.power_w is not None
        return Price(
            seconds=over(lambda _, spent: spent.seconds),
            chip_seconds=over(lambda _, spent: self._chip_seconds(spent)),
            spent=mid[1],
            lines=tuple(
                Line(operation=rated.operation, factor=rated.factor, spent=spent)
                for rated, spent in rating.lines(self.hardware.mid)
            ),
            energy_j=over(self._joules) if known else None,
            money_usd=None
            if rent is None
            else over(
                lambda machine, spent: self._chip_seconds(spent) / SECONDS_PER_HOUR * rent.at(machine.draw)
            ),
            electricity_usd=over(
                lambda machine, spent: self._joules(machine, spent) * electricity.usd_per_j(machine.draw)
            )
            if known and electricity
            else None,
            factors=rating.factors,
        )

    def seconds(self, sums: Sums) -> float:
        """Seconds of a batch of these sums, with every guess at its mid."""
        return self.rating(sums).spent(self.hardware.mid).seconds

    def rating(self, sums: Sums) -> Rating:
        """Its operations with their efficiency, to be priced for every draw of the guesses."""
        chip = self.hardware.mid.chip
        chip.check_kv_precision(self.lowering.precision.kv)
        return rate(self.lowering.operations(sums), chip, self.calibration)

    def memory(self, batch: Batch) -> Memory:
        """What `batch` needs on the fullest chip; a guessed size of memory counts at its least."""
        figure = self.hardware.chip.figure("memory_bytes")
        return memory_of(self.lowering, batch, available_bytes=figure.at(Case.WORST))

    @cached_property
    def calibration(self) -> Efficiency:
        """Its efficiency. Nobody timed attention over a cache in INT8: kernels over FP8 stand for it."""
        if self.lowering.precision.kv != "int8":
            return self.efficiency
        reason = "borrowed from kernels over an FP8 cache, as none over one in INT8 was timed"
        return Borrowing(lender=self.efficiency, family="attention_decode", reason=reason)

    @property
    def figures(self) -> tuple[Figure, ...]:
        """Every figure of the hardware that its seconds rest on."""
        return self.hardware.figures(self.lowering.arithmetics, self.lowering.parallel.chips)

    def machines(self, rating: Rating) -> tuple[Machine, ...]:
        """The machine in every draw that a rated batch's seconds rest on; none if nothing is guessed."""
        return self.hardware.drawn if any_guessed(self.figures) or rating.guessed else ()

    def _drawn(self, rating: Rating) -> Sequence[tuple[Machine, Spent]]:
        """What the batch spends in every draw, where seconds, joules or dollars rest on a guess."""
        rent = self.rent is not None and self.rent.usd_per_h.guessed
        guessed = rent or any_guessed(self.hardware.power_figures)
        machines = self.hardware.drawn if guessed else self.machines(rating)
        return [(machine, rating.spent(machine)) for machine in machines]

    @cached_property
    def _stage_share(self) -> float:
        return stage_share(self.lowering.model, self.lowering.parallel.pp)

    def _chip_seconds(self, spent: Spent) -> float:
        return self.lowering.parallel.chips * self._stage_share * spent.seconds

    def chip_seconds_on(self, machine: Machine, rating: Rating) -> float:
        """How long all chips together are held for a rated batch."""
        return self.lowering.parallel.chips * self._stage_share * rating.seconds(machine)

    def _joules(self, machine: Machine, spent: Spent) -> float:
        joules = energy_j(
            spent,
            chips_busy=self.lowering.parallel.stage_chips,
            chip_seconds=self._chip_seconds(spent),
            chip=machine.chip,
        )
        assert joules is not None, "asked only where the power is known"
        return joules


def break_even_usd_per_h(instance: Instance, priced: Instance, batch: Batch) -> Range:
    """The rent of a chip of `instance` at which `batch` costs there what it costs on `priced`, which has one.

    Both are drawn together: a draw is the same luck for either.
    """
    assert priced.rent is not None, "only what has a rent can be compared with"
    rent = priced.rent
    mine = instance.rating(instance.lowering.sums(batch))
    theirs = priced.rating(priced.lowering.sums(batch))

    def at(here: Machine, there: Machine) -> float:
        paid = priced.chip_seconds_on(there, theirs) * rent.at(there.draw)
        return paid / instance.chip_seconds_on(here, mine)

    drawn = zip(instance.hardware.drawn, priced.hardware.drawn, strict=True)
    return range_of(at(instance.hardware.mid, priced.hardware.mid), [at(*both) for both in drawn])
