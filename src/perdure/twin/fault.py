"""What can befall the replicas of a run, and when."""

import math
from dataclasses import dataclass
from typing import Literal

OnLoss = Literal["resume", "restart", "end"]

FAULTS_MAX = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Some replicas that follow each other break, slow down, or are restarted.

    first_replica  of all in the run, and how many `replicas` from there
    for_s          until they are mended; infinite: never
    noticed_s      after it began, the router notices
    slowness       steps take so many times as long; None where replicas break
    drain_s        running calls may go on for so long before the restart; None where nobody is warned
    then           the fault, by its place, that begins when this one ends; `follows` where it is such a one
    """

    what: str
    first_replica: int
    replicas: int = 1
    at_s: float = 0.0
    for_s: float = math.inf
    noticed_s: float = 0.0
    slowness: float | None = None
    drain_s: float | None = None
    then: int | None = None
    follows: bool = False
