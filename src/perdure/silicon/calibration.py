"""How far real kernels fall short of the roofline, from timings of it or of its nearest relative.

Timings are AIConfigurator's (aiconfigurator-core 0.12.0, Apache-2.0), sampled once into tables of our own by
`bench/aiconfigurator_sample.py`. What software adds is fitted, see `calibration_software`.
"""

from dataclasses import dataclass
from functools import cache

from perdure.catalog.figure import Status
from perdure.silicon.calibration_kernels import Kernels, Timing
from perdure.silicon.calibration_profile import profiled
from perdure.silicon.calibration_relatives import Relative, TimedOn, relative_of, timed_on
from perdure.silicon.calibration_rows import MeasuredRows, measured_rows_of
from perdure.silicon.calibration_software import Software, software_of
from perdure.silicon.chip import Chip
from perdure.silicon.collectives import stream_s
from perdure.silicon.efficiency import (
    BORROWED_HIGH,
    BORROWED_LOW,
    BOUND_TIMES,
    BOUND_TIMES_OTHER,
    UNCALIBRATED,
    Efficiency,
    Factor,
    Timed,
)
from perdure.silicon.ranges import Range, exactly
from perdure.silicon.roofline import parts_s
from perdure.silicon.shapes import Computation, Elementwise, Gemm, Message, Shape

DEFAULT_STACK = "vllm"
# A kernel that only streams reaches four fifths of a memory's bandwidth (aiconfigurator systems/*.yaml).
STREAM_TIMES = 1.25
# Making FP8 or FP4 of what goes into a product: its input read in BF16 and written.
QUANTIZED_BYTES = 2.5
QUANTIZE_S = 1e-6
# A shape that was not timed itself: a factor around its nearest kin, for each octave between them.
FAR_LOW, FAR_HIGH = 0.9, 1.2
FAR_OCTAVES_MAX = 3.0
# Weights or a cache in a format whose kernels were not timed: around the factor of kernels of the same shape
# in the next larger format, as they unpack what they read. At worst all that those take beyond their floor is
# fixed, whatever the bytes.
# Where a chip has no timing of a kind of kernel at all.
UNTIMED = Range(low=1.1, mid=1.5, high=2.5)

_SOURCE = "aiconfigurator-core 0.12.0 systems/data (Apache-2.0)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """Kernels timed on one chip, and fitted software; `relative` carries them to another chip.

    `place` is where they were timed: the chip with its published peaks, and the node that it sits in.
    """

    kernels: Kernels
    software: Software
    place: TimedOn
    relative: Relative | None = None

    @property
    def name(self) -> str:
        """What a result calls it."""
        stack = f"kernels timed on {self.kernels.chip}, software of {self.software.name}"
        return stack if self.relative is None else f"{stack}, carried over: {self.relative.reason}"

    def factor(self, shape: Shape, chip: Chip) -> Factor:
        """The timing, and measured over floor on `chip`."""
        if isinstance(shape, Elementwise):
            return self._estimate(
                exactly(STREAM_TIMES), self.software.kernel_s, "streams, and a launch in a graph"
            )
        timing = self._timing(shape)
        if timing is None:
            reason = "no kernel like it was timed on this chip or a relative"
            added_s = None if isinstance(shape, Message) else self.software.kernel_s
            return self._guess(UNTIMED, added_s, reason)
        if isinstance(shape, Message):
            return self._message(timing, shape)
        flow_s, fetch_s = parts_s(shape, chip)
        floor_s = max(flow_s, fetch_s)
        timed = self._timed(timing, timing.lender or shape)
        times = max(1.0, timed.carried_s(flow_s, fetch_s) / floor_s)
        added_s = self._added_s(shape, chip)
        if timing.lender is None:
            return self._own(times, timing, timed, added_s)
        fixed = 1.0 + (timed.seconds - max(timed.flow_s, timed.fetch_s)) / floor_s
        return self._lent(times, max(times * BORROWED_HIGH, fixed), timing, timed, added_s)

    def _timing(self, shape: Shape) -> Timing | None:
        """The timing of `shape`; None where the chip that was timed has not its arithmetic either."""
        known = isinstance(shape, Message) or shape.arithmetic in self.place.chip.flops_per_s
        return self.kernels.timing(shape) if known else None

    def _timed(self, timing: Timing, shape: Computation) -> Timed:
        """The timing beside what the parts of the chip that was timed take at their peaks, and no less."""
        flow_s, fetch_s = parts_s(shape, self.place.chip)
        seconds = max(timing.seconds, flow_s, fetch_s)
        return Timed(
            seconds=seconds,
            flow_s=flow_s,
            fetch_s=fetch_s,
            least_s=min(seconds, self.kernels.quickest_s),
            bound_times=BOUND_TIMES.get(shape.arithmetic, BOUND_TIMES_OTHER),
        )

    def step(self, chip: Chip) -> Factor:
        """What software spends between two steps."""
        return self._estimate(exactly(1.0), self.software.step_s, self.software.source)

    def _added_s(self, shape: Shape, chip: Chip) -> float:
        """Sampling for each row of the head; and what makes FP8 or FP4 of a product's input."""
        if not isinstance(shape, Gemm):
            return 0.0
        if shape.family == "head":
            return self.software.sequence_s * shape.rows
        if shape.arithmetic == "bf16":
            return 0.0
        return QUANTIZE_S + shape.rows * shape.inputs * QUANTIZED_BYTES / chip.memory_bytes_per_s

    def _own(self, times: float, timing: Timing, timed: Timed, added_s: float) -> Factor:
        source = _source(timing)
        if timing.far == 0.0 and self.relative is None:
            return Factor(
                times=exactly(times),
                launch_s=exactly(added_s),
                timed=timed,
                status=Status.MEASURED,
                source=source,
            )
        octaves = min(timing.far, FAR_OCTAVES_MAX)
        low, high = FAR_LOW**octaves, FAR_HIGH**octaves
        if self.relative is not None:
            low, high = low * self.relative.low, high * self.relative.high
        spread = Range(low=max(1.0, times * low), mid=times, high=times * high)
        return self._guess(spread, added_s, f"the nearest timed kernel, {source}", timed)

    def _lent(self, times: float, high: float, timing: Timing, timed: Timed, added_s: float) -> Factor:
        """The factor of the same kernel over another format."""
        low = times * BORROWED_LOW
        if self.relative is not None:
            low, high = low * self.relative.low, high * self.relative.high
        reason = f"borrowed from {timing.lent}: {_source(timing)}"
        return self._guess(Range(low=max(1.0, low), mid=times, high=high), added_s, reason, timed)

    def _message(self, timing: Timing, shape: Message) -> Factor:
        """A message is carried over by the link's bandwidth and by its steps."""
        if self.relative is not None:
            return self._guess(self.relative.link, None, self.relative.reason)
        assert self.place.rack is not None, "exchanges were timed in a node"
        flow_s, fetch_s = stream_s(shape, self.place.rack)
        # The smallest message took as many steps as it waits for.
        steps = max(BOUND_TIMES_OTHER, timing.table.least_s / fetch_s)
        timed = Timed(seconds=timing.seconds, flow_s=flow_s, fetch_s=fetch_s, bound_times=steps)
        source = (
            f"{_SOURCE}, {shape.family} over {shape.chips} on {timing.table.chip}, {timing.table.version}"
        )
        if timing.far > 0.0:
            return self._guess(
                Range(low=FAR_LOW, mid=1.0, high=FAR_HIGH), 0.0, f"the nearest timed links, {source}", timed
            )
        return Factor(
            times=exactly(1.0), launch_s=exactly(0.0), timed=timed, status=Status.MEASURED, source=source
        )

    def _estimate(self, times: Range, added_s: float, source: str) -> Factor:
        return Factor(times=times, launch_s=exactly(added_s), status=Status.MEASURED, source=source)

    def _guess(self, times: Range, added_s: float | None, reason: str, timed: Timed | None = None) -> Factor:
        return Factor(
            times=times,
            launch_s=None if added_s is None else exactly(added_s),
            timed=timed,
            status=Status.ESTIMATE,
            source=reason,
            chance=f"efficiency/{self.kernels.chip}",
        )


@cache
def calibration_of(chip_id: str, stack: str = DEFAULT_STACK) -> Efficiency:
    """The best calibration there is for the chip called `chip_id`, with the software of `stack`.

    Its own timings; else its own measured rows; else those of its nearest relative, as a range, under
    what was timed of vLLM's own kernels on a card; else none.
    """
    software = software_of(stack)
    place = timed_on(chip_id)
    if place is not None:
        return Calibrated(kernels=Kernels(chip_id, software.stack), software=software, place=place)
    rows = measured_rows_of(chip_id)
    if rows is not None:
        return MeasuredRows(rows=rows, software=software)
    relative = relative_of(chip_id)
    if relative is None:
        return UNCALIBRATED
    carried = Calibrated(
        kernels=Kernels(relative.timed_id, software.stack),
        software=software,
        place=relative.place,
        relative=relative,
    )
    return profiled(chip_id, software, carried)


def _source(timing: Timing) -> str:
    table = timing.table
    return f"{_SOURCE}, {table.family} {table.variant} on {table.chip}, {table.version}"
