"""The same fleet, simulated with the same decision functions."""
