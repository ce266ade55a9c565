"""On what a model could run: chips, how many, joined by what, in which precision."""

from dataclasses import dataclass

from perdure.catalog.entry import Entry
from perdure.catalog.figure import Figure
from perdure.models.precision import Precision
from perdure.silicon.rack import bandwidth_figure, scale_up_part


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """One instance of a model, its weights split evenly over `chips` of one scale-up domain.

    rack  what joins the chips; None for a single one
    """

    hardware: str
    chip: Entry
    chips: int = 1
    rack: Entry | None = None
    model: Entry
    precision: Precision

    @property
    def rests_on(self) -> tuple[Figure, ...]:
        """Every figure that an estimate of this deployment uses."""
        arithmetic = dict.fromkeys((self.precision.arithmetic, self.precision.attention_arithmetic))
        names = (
            "memory_bytes",
            "memory_bandwidth_bytes_per_s",
            *(f"{precision}_dense_flop_per_s" for precision in arithmetic),
            "launch_s",
        )
        of_chip = tuple(self.chip.figure(name) for name in names)
        return (*of_chip, *self._of_links(), *self.model.figures.values())

    def _of_links(self) -> tuple[Figure, ...]:
        if self.rack is None:
            return ()
        part = scale_up_part(self.rack)
        names = [name for name in ("hop_s", "software_s") if name in part.figures]
        return (bandwidth_figure(part, self.chip), *(part.figures[name] for name in names))
