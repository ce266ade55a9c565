"""On what a model could run: chips, how many, joined by what, laid out how, in which precision."""

from dataclasses import dataclass
from functools import cached_property

from perdure.catalog.entry import Entry
from perdure.catalog.figure import Figure
from perdure.models.architecture import Architecture, architecture_of
from perdure.models.cost import Instance
from perdure.models.operations import ONE_CHIP, Lowering
from perdure.models.parallel import Parallel
from perdure.models.precision import Precision
from perdure.silicon.efficiency import UNCALIBRATED, Efficiency
from perdure.silicon.energy import Electricity
from perdure.silicon.price_machine import Hardware
from perdure.silicon.price_rent import Rent


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """One instance of a model on chips of one kind.

    hardware   what people call it
    rack       what joins the chips; None for a single one
    instances  how many of them the hardware holds side by side
    """

    hardware: str
    chip: Entry
    rack: Entry | None = None
    model: Entry
    precision: Precision
    parallel: Parallel = ONE_CHIP
    instances: int = 1
    efficiency: Efficiency = UNCALIBRATED
    rent: Rent | None = None
    electricity: Electricity | None = None

    @property
    def chips(self) -> int:
        """Chips of one instance."""
        return self.parallel.chips

    @cached_property
    def architecture(self) -> Architecture:
        """The shape of the model."""
        return architecture_of(self.model)

    @cached_property
    def instance(self) -> Instance:
        """What prices its batches."""
        return Instance(
            lowering=Lowering(model=self.architecture, precision=self.precision, parallel=self.parallel),
            hardware=Hardware(chip=self.chip, rack=self.rack),
            efficiency=self.efficiency,
            rent=self.rent,
            electricity=self.electricity,
        )

    @property
    def rests_on(self) -> tuple[Figure, ...]:
        """Every figure that seconds on this deployment rest on."""
        return (*self.instance.figures, *self.model.figures.values())
