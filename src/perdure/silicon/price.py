"""What operations cost on a machine: floor, efficiency, launch and links together, draw by draw."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

from perdure.catalog.figure import Status
from perdure.errors import BadRequest
from perdure.silicon.chip import Chip
from perdure.silicon.collectives import message_floor, stream_s
from perdure.silicon.efficiency import Efficiency, Factor
from perdure.silicon.rack import Rack
from perdure.silicon.ranges import MID, Draw
from perdure.silicon.ranks import busiest
from perdure.silicon.roofline import Operation, Spent, computation_floor, parts_s, total_of
from perdure.silicon.shapes import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One chip and the rack that joins it to others, or None, in one draw of the guesses."""

    chip: Chip
    rack: Rack | None = None
    draw: Draw = MID


@dataclass(frozen=True, slots=True, kw_only=True)
class Rated:
    """An operation and how far short of its floor it falls, before anything is drawn."""

    operation: Operation
    factor: Factor

    def spent(self, machine: Machine) -> Spent:
        """What it costs there, all layers together: for one prompt, if it is a prompt's."""
        shape, factor, chip = self.operation.shape, self.factor, machine.chip
        luck = _luck(factor, machine.draw)
        if isinstance(shape, Message):
            return _message_spent(shape, machine, factor, luck).times(self.operation.repeats)
        launch_s = _launch_s(self, chip, luck)
        times = factor.times_at(*parts_s(shape, chip), luck) if factor.timed else factor.times.at(luck)
        once = computation_floor(shape, chip, times=times, launch_s=launch_s)
        return once.times(self.operation.repeats)


@dataclass(frozen=True, kw_only=True)
class Rating:
    """All operations of one batch or of several, rated once, to be priced for every draw.

    step     what software spends between two batches
    batches  how many the operations are of
    """

    operations: tuple[Rated, ...]
    step: Factor
    batches: int = 1

    def spent(self, machine: Machine) -> Spent:
        """What the batch costs on `machine`, one operation after another."""
        return total_of(spent for _, spent in self.lines(machine)) + self.software(machine.draw)

    def lines(self, machine: Machine) -> list[tuple[Rated, Spent]]:
        """What each operation costs there; of a prompt's, what the busiest rank has of all that are alike."""
        lines = [(rated, rated.spent(machine).times(rated.operation.alike)) for rated in self.operations]
        if self._ranks == 1:
            return lines
        share = self._busiest_share(lines)
        return [
            (rated, spent if rated.operation.prompt is None else spent.times(share)) for rated, spent in lines
        ]

    def _busiest_share(self, lines: list[tuple[Rated, Spent]]) -> float:
        """Of all that prompts do by themselves, what falls to the rank that does most of it."""
        loads: dict[int, tuple[float, int]] = {}
        for rated, spent in lines:
            operation = rated.operation
            if operation.prompt is not None:
                so_far_s, _ = loads.get(operation.prompt, (0.0, 1))
                loads[operation.prompt] = (so_far_s + spent.seconds / operation.alike, operation.alike)
        return busiest(loads.values(), self._ranks) / busiest(loads.values(), 1)

    def seconds(self, machine: Machine) -> float:
        """The same as `spent(machine).seconds`, several times faster, for the many draws of guesses."""
        if self._ranks > 1:
            return self.spent(machine).seconds
        return self.kernel_seconds(machine) + self.software(machine.draw).software_s

    def kernel_seconds(self, machine: Machine) -> float:
        """The same, without the software between batches, on one rank."""
        chip, draw = machine.chip, machine.draw
        total_s = 0.0
        for flops, bytes_moved, arithmetic, rated in self._computations:
            factor, operation = rated.factor, rated.operation
            luck = _luck(factor, draw)
            compute_s = flops / chip.flops_per_s[arithmetic]
            memory_s = bytes_moved / chip.memory_bytes_per_s
            times = factor.times_at(compute_s, memory_s, luck)
            once_s = max(compute_s, memory_s) * times + _launch_s(rated, chip, luck)
            total_s += once_s * operation.repeats * operation.alike
        return total_s + sum(rated.spent(machine).link_s for rated in self._messages)

    def software(self, draw: Draw) -> Spent:
        """What passes between the batches."""
        added = self.step.launch_s
        added_s = 0.0 if added is None else added.at(_luck(self.step, draw))
        return Spent(software_s=added_s * self.batches)

    @property
    def factors(self) -> tuple[Factor, ...]:
        """Every factor that the price rests on, each once."""
        used = (*(rated.factor for rated in self.operations if rated.operation.repeats), self.step)
        return tuple(dict.fromkeys(used))

    @property
    def guessed(self) -> bool:
        """Whether a factor is an estimate, so that the price must be a range."""
        return any(factor.status is Status.ESTIMATE for factor in self.factors)

    @cached_property
    def _ranks(self) -> int:
        """How many ranks prompts are dealt out to."""
        return max((rated.operation.ranks for rated in self.operations), default=1)

    @cached_property
    def _computations(self) -> tuple[tuple[float, float, str, Rated], ...]:
        shapes = [(rated.operation.shape, rated) for rated in self.operations]
        return tuple(
            (shape.flops, shape.bytes_moved, shape.arithmetic, rated)
            for shape, rated in shapes
            if not isinstance(shape, Message)
        )

    @cached_property
    def _messages(self) -> tuple[Rated, ...]:
        return tuple(rated for rated in self.operations if isinstance(rated.operation.shape, Message))


def rate(operations: Iterable[Operation], chip: Chip, efficiency: Efficiency) -> Rating:
    """`operations` with the factors that `efficiency` gives for `chip`."""
    rated = tuple(
        Rated(operation=operation, factor=efficiency.factor(operation.shape, chip))
        for operation in operations
    )
    return Rating(operations=rated, step=efficiency.step(chip))


def _message_spent(shape: Message, machine: Machine, factor: Factor, luck: float | None) -> Spent:
    if shape.chips <= 1:
        return Spent()
    if machine.rack is None:
        raise BadRequest(
            f"nothing is known of what joins {shape.chips} chips of {machine.chip.name}; take one chip an "
            "instance, or a rack of the catalogue",
            param="on",
        )
    if factor.timed is not None:
        carried_s = factor.timed.carried_s(*stream_s(shape, machine.rack))
        return Spent(link_s=carried_s * factor.times.at(luck))
    # The way to exchange is chosen for the bytes as slow as software makes them.
    slowed = replace(shape, message_bytes=shape.message_bytes * factor.times.at(luck))
    wire, added = message_floor(slowed, machine.rack), factor.launch_s
    return Spent(link_s=wire.wire_s + (wire.step_s if added is None else added.at(luck)))


def _luck(factor: Factor, draw: Draw) -> float | None:
    return draw.luck(factor.chance) if factor.chance else None


def _launch_s(rated: Rated, chip: Chip, luck: float | None) -> float:
    added = rated.factor.launch_s
    return chip.launch_s * rated.operation.launches if added is None else added.at(luck)
