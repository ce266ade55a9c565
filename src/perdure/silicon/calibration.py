"""How far real kernels fall short of the roofline, from timings of it or of its nearest relative.

Timings are AIConfigurator's (aiconfigurator-core 0.12.0, Apache-2.0), sampled once into tables of our own by
`bench/aiconfigurator_sample.py`. What software adds is fitted, see `calibration_software`.
"""

from dataclasses import dataclass, replace
from functools import cache

from perdure.catalog.figure import Status
from perdure.silicon.calibration_kernels import Kernels, Timing
from perdure.silicon.calibration_relatives import Relative, relative_of
from perdure.silicon.calibration_rows import MeasuredRows, measured_rows_of
from perdure.silicon.calibration_software import Software, software_of
from perdure.silicon.calibration_table import tables_of
from perdure.silicon.chip import Chip
from perdure.silicon.efficiency import UNCALIBRATED, Efficiency, Factor
from perdure.silicon.ranges import Range, exactly
from perdure.silicon.shapes import Elementwise, Gemm, Message, Shape

DEFAULT_STACK = "vllm"
# A kernel that only streams reaches four fifths of a memory's bandwidth (aiconfigurator systems/*.yaml).
STREAM_TIMES = 1.25
# Making FP8 or FP4 of what goes into a product: its input read in BF16 and written.
QUANTIZED_BYTES = 2.5
QUANTIZE_S = 1e-6
# A shape that was not timed itself: a factor around its nearest kin, for each octave between them.
FAR_LOW, FAR_HIGH = 0.9, 1.2
FAR_OCTAVES_MAX = 3.0
# Weights in a format whose kernels were not timed: around the factor of BF16 kernels of the same shape, as
# they unpack what they read. At worst all that BF16 takes beyond its floor is fixed, whatever the bytes.
LENT_LOW, LENT_HIGH = 0.9, 1.8
# Where a chip has no timing of a kind of kernel at all.
UNTIMED = Range(low=1.1, mid=1.5, high=2.5)

_SOURCE = "aiconfigurator-core 0.12.0 systems/data (Apache-2.0)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """Timed kernels of `kernels.chip` and fitted software; `relative` carries them to another chip."""

    kernels: Kernels
    software: Software
    relative: Relative | None = None

    @property
    def name(self) -> str:
        """What a result calls it."""
        stack = f"kernels timed on {self.kernels.chip}, software of {self.software.name}"
        return stack if self.relative is None else f"{stack}, carried over: {self.relative.reason}"

    def factor(self, shape: Shape, chip: Chip) -> Factor:
        """Measured over floor, where the floor is that of the chip that was timed: for it, the two cancel."""
        if isinstance(shape, Elementwise):
            return self._estimate(
                exactly(STREAM_TIMES), self.software.kernel_s, "streams, and a launch in a graph"
            )
        timing = self.kernels.timing(shape)
        if timing is None:
            reason = "no kernel like it was timed on this chip or a relative"
            added_s = None if isinstance(shape, Message) else self.software.kernel_s
            return self._guess(UNTIMED, added_s, reason)
        if isinstance(shape, Message):
            return self._message(timing, shape)
        timed_chip = chip if self.relative is None else self.relative.timed
        floor_s = _floor_s(timing.lender or shape, timed_chip)
        times = max(1.0, timing.seconds / floor_s)
        added_s = self._added_s(shape, chip)
        if timing.lender is not None:
            fixed = 1.0 + (times - 1.0) * floor_s / _floor_s(shape, timed_chip)
            return self._lent(times, max(times * LENT_HIGH, fixed), timing, added_s)
        return self._timed(times, timing, added_s)

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

    def _timed(self, times: float, timing: Timing, added_s: float) -> Factor:
        source = _source(timing)
        if timing.far == 0.0 and self.relative is None:
            return Factor(
                times=exactly(times), launch_s=exactly(added_s), status=Status.MEASURED, source=source
            )
        octaves = min(timing.far, FAR_OCTAVES_MAX)
        low, high = FAR_LOW**octaves, FAR_HIGH**octaves
        if self.relative is not None:
            low, high = low * self.relative.low, high * self.relative.high
        spread = Range(low=max(1.0, times * low), mid=times, high=times * high)
        return self._guess(spread, added_s, f"the nearest timed kernel, {source}")

    def _lent(self, times: float, high: float, timing: Timing, added_s: float) -> Factor:
        """The factor of BF16 kernels for INT4 weights."""
        low = times * LENT_LOW
        if self.relative is not None:
            low, high = low * self.relative.low, high * self.relative.high
        reason = f"borrowed from BF16 kernels, as none in INT4 was timed: {_source(timing)}"
        return self._guess(Range(low=max(1.0, low), mid=times, high=high), added_s, reason)

    def _message(self, timing: Timing, shape: Message) -> Factor:
        """A message has no floor here: all its time is stated as what is added, whatever the size."""
        if self.relative is not None:
            return self._guess(self.relative.link, None, self.relative.reason)
        source = (
            f"{_SOURCE}, {shape.family} over {shape.chips} on {timing.table.chip}, {timing.table.version}"
        )
        if timing.far > 0.0:
            low, high = timing.seconds * FAR_LOW, timing.seconds * FAR_HIGH
            return replace(
                self._guess(exactly(0.0), 0.0, f"the nearest timed links, {source}"),
                launch_s=Range(low=low, mid=timing.seconds, high=high),
            )
        return Factor(
            times=exactly(0.0), launch_s=exactly(timing.seconds), status=Status.MEASURED, source=source
        )

    def _estimate(self, times: Range, added_s: float, source: str) -> Factor:
        return Factor(times=times, launch_s=exactly(added_s), status=Status.MEASURED, source=source)

    def _guess(self, times: Range, added_s: float | None, reason: str) -> Factor:
        return Factor(
            times=times,
            launch_s=None if added_s is None else exactly(added_s),
            status=Status.ESTIMATE,
            source=reason,
            chance=f"efficiency/{self.kernels.chip}",
        )


@cache
def calibration_of(chip_id: str, stack: str = DEFAULT_STACK) -> Efficiency:
    """The best calibration there is for the chip called `chip_id`, with the software of `stack`.

    Its own timings; else its own measured rows; else those of its nearest relative, as a range; else none.
    """
    software = software_of(stack)
    if tables_of(chip_id, "any"):
        return Calibrated(kernels=Kernels(chip_id, software.stack), software=software)
    rows = measured_rows_of(chip_id)
    if rows is not None:
        return MeasuredRows(rows=rows, software=software)
    relative = relative_of(chip_id)
    if relative is None:
        return UNCALIBRATED
    return Calibrated(
        kernels=Kernels(relative.timed_id, software.stack), software=software, relative=relative
    )


def _source(timing: Timing) -> str:
    table = timing.table
    return f"{_SOURCE}, {table.family} {table.variant} on {table.chip}, {table.version}"


def _floor_s(shape: Shape, chip: Chip) -> float:
    assert not isinstance(shape, Message), "a message's floor is its wire"
    return max(
        shape.flops / chip.peak_flops_per_s(shape.arithmetic), shape.bytes_moved / chip.memory_bytes_per_s
    )
