"""Any facts that a policy may be asked about, as Hypothesis draws them; for the suites of scheduling."""

from typing import Any

from hypothesis import strategies as st

from perdure.scheduling.policies import FACTS, Kind
from perdure.scheduling.policy_file import FLAGS

EXACT_MAX = 1 << 53  # whole numbers up to here are floats as well
ENDS = (0.0, 5e-324, 1e-300, 1e-9, 1.0, 1e6, 1e15, 1e300, 1.7976931348623157e308)


def facts(kind: Kind, largest: float = ENDS[-1], whole_max: int = EXACT_MAX) -> st.SearchStrategy[Any]:
    """Facts of that kind: flags 0 or 1, whole numbers to `whole_max`, floats of any size to `largest`."""
    ends = [end for end in ENDS if end <= largest]
    floats = st.sampled_from(ends) | st.floats(0, largest) | st.floats(0, min(largest, 1e6))
    wholes = st.integers(0, whole_max) | st.integers(0, min(whole_max, 10_000))
    drawn: dict[str, st.SearchStrategy[float]] = {}
    for name, member in FACTS[kind].__annotations__.items():
        drawn[name] = st.integers(0, 1) if name in FLAGS else wholes if member is int else floats
    if kind == "order":
        drawn["priority"] = st.integers(-10, 10)
    return st.builds(FACTS[kind], **drawn)
