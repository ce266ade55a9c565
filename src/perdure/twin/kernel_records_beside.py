"""What the compiled twin knows of tenants and of faults, as records."""

import numpy as np

# What a tenant may have under way (0: no limit), and who waits for that: sessions + 1.
TENANT = np.dtype(
    [
        ("limit", np.int64),
        ("under_way", np.int64),
        ("waiting", np.int64),
        ("first_waiting", np.int64),
        ("last_waiting", np.int64),
    ],
    align=True,
)

# What befalls replicas, from the first to the one before the last.
FAULT = np.dtype(
    [
        ("first_replica", np.int64),
        ("last_replica", np.int64),
        ("for_s", np.float64),
        ("noticed_s", np.float64),
        ("drain_s", np.float64),
        ("slowness", np.float64),
        ("slows", np.bool_),
        ("drains", np.bool_),
        ("begun", np.bool_),
        ("then", np.int64),  # fault + 1 that begins when this one ends
    ],
    align=True,
)
