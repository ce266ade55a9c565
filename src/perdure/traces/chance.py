"""Which numbers of chance a generated workload is made of: one stream for each purpose.

A stream yields the same numbers whatever else is drawn, so that one option changes one thing, and a longer
workload begins with the shorter one.
"""

import numpy as np

from perdure.rng import seeded


def stream(seed: int, purpose: str) -> np.random.Generator:
    """The numbers that `seed` gives for `purpose`; those of other purposes are independent of them."""
    return np.random.Generator(np.random.PCG64(seeded(seed, purpose).getrandbits(128)))
