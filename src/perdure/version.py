"""Which version of Perdure this is."""

__version__ = "0.1.0"
