"""How much the busiest of several ranks must do, when sequences are dealt out to them whole."""

from collections.abc import Iterable

Counted = tuple[float, float]  # a load, and how many sequences have it


def busiest(loads: Iterable[Counted], ranks: int) -> float:
    """The least that the busiest of `ranks` must carry of `loads`, however well they are dealt out.

    No less than the mean; and where there are more than j loads a rank, one rank has j + 1 of the largest.
    """
    counted = sorted(loads, reverse=True)
    total = float(sum(load * count for load, count in counted))
    if ranks == 1:
        return total
    most, before = total / ranks, 0.0
    for load, count in counted:
        before += count
        most = max(most, load * -(-before // ranks))
    return most
