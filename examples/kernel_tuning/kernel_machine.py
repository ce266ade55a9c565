"""Which processor this is, as far as kernels care: its name and the width of its vectors."""

from pathlib import Path


def cpu_name() -> str:
    """The processor as Linux names it."""
    return _cpuinfo("model name", "Processor", "CPU part") or "unknown"


def cpu_flags() -> frozenset[str]:
    """The processor's features as Linux lists them."""
    return frozenset(_cpuinfo("flags", "Features").split())


def vector_floats_max(flags: frozenset[str]) -> int:
    """Floats in the widest vector register; 4 with SSE2 or NEON, which every 64-bit x86 or ARM core has."""
    if "avx512f" in flags:
        return 16
    return 8 if "avx" in flags else 4


def _cpuinfo(*names: str) -> str:
    """The first core's line of that name, or the empty string."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in names:
            return value.strip()
    return ""
