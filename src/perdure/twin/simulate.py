"""One run of the twin: a workload on pools under policies, from the first arrival to the last answer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from numba import types

from perdure.scheduling.compiled import SIGNATURES, compile_policy
from perdure.scheduling.policies import Kind, named
from perdure.twin.kernel import run as run_kernel
from perdure.twin.kernel_arrays import World
from perdure.twin.kernel_world import WORLD
from perdure.twin.pool import Costs
from perdure.twin.world import Layout, Options, make_world


class _FirstClass(types.WrapperAddressProtocol):
    """A compiled policy as a value: the kernel is compiled for its type, not for each policy anew."""

    def __init__(self, kind: Kind, function: Callable[[Any], float]) -> None:
        self._signature = SIGNATURES[kind]
        self._compiled = compile_policy(kind, function)

    def __call__(self, facts: Any) -> float:
        """Its answer, where numba is told to compile nothing."""
        return self._compiled(facts)

    def __wrapper_address__(self) -> int:
        result = self._compiled.get_compile_result(self._signature)
        return result.library.get_pointer_to_function(result.fndesc.llvm_cfunc_wrapper_name)

    def signature(self) -> Any:
        """What it takes and gives."""
        return self._signature


assert WORLD.name == "World", "importing its module taught numba what a world is"

HANDLED_EACH = 200_000  # events and batches between two looks at the clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """The four decisions, as functions over facts."""

    order: Callable[[Any], float]
    place: Callable[[Any], float]
    admit: Callable[[Any], float]
    retain: Callable[[Any], float]

    @property
    def first_come(self) -> bool:
        """Whether the order is that of arrival, so that nobody need be asked."""
        return self.order is named("order", "fcfs")

    @property
    def asks_admit(self) -> bool:
        """Whether programs may be kept waiting."""
        return self.admit is not named("admit", "all")

    @property
    def asks_retain(self) -> bool:
        """Whether KV may be kept or dropped, rather than evicted in turn."""
        return self.retain is not named("retain", "lru")

    def compiled(self) -> tuple[Any, Any, Any, Any]:
        """The same for the kernel."""
        return (
            _FirstClass("order", self.order),
            _FirstClass("place", self.place),
            _FirstClass("admit", self.admit),
            _FirstClass("retain", self.retain),
        )


def run_world(
    world: World,
    functions: tuple[Any, Any, Any, Any],
    *,
    on_progress: Callable[[World], None] | None = None,
) -> World:
    """Run a fresh `world` to its end under `Policies.compiled` functions, and return it."""
    while run_kernel(world, *functions, HANDLED_EACH):
        if on_progress is not None:
            on_progress(world)
    return world


def simulate(
    layout: Layout, policies: Policies, options: Options, *, costs: Sequence[Costs] | None = None
) -> World:
    """Run a layout to its end; `costs` of each pool, by default those of the mid draw."""
    world = make_world(layout, options, costs or [pool.mid for pool in layout.pools])
    return run_world(world, policies.compiled())
