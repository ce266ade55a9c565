"""What serving software adds to its kernels: between two steps, for each small kernel, for each sequence.

Fitted by `bench/fit_software.py` to measured end-to-end rows of the fit split alone (Llama-3.1, gpt-oss,
DeepSeek under SGLang, MiniMax): see docs/accuracy.md. No row of a model that we report as held out took part.
"""

import tomllib
from dataclasses import dataclass
from functools import cache

from perdure.errors import CatalogBroken, NotFound
from perdure.silicon.calibration_table import FOLDER

PATH = FOLDER / "software.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Software:
    """One generation of one serving stack.

    stack       whose all-reduces it runs: `vllm`, `sglang` or `trtllm`
    step_s      between two steps
    kernel_s    of an elementwise kernel, whatever its size, as launched from a captured graph
    sequence_s  for each sequence of a step: sampling, and what Python does for each answer
    prefill_times  a prefill's own kernels over their timings: no graph, ragged shapes
    """

    name: str
    stack: str
    step_s: float
    kernel_s: float
    sequence_s: float
    prefill_times: float
    source: str


@cache
def software_of(name: str) -> Software:
    """The generation called `name`, such as `vllm` (of 2026) or `vllm-2025`; else NotFound."""
    known = tomllib.loads(PATH.read_text(encoding="utf-8"))
    if name not in known:
        raise NotFound(f"there is no software {name!r}; choose one of {', '.join(known)}")
    row = known[name]
    keys = {"stack", "step_us", "kernel_us", "sequence_us", "prefill_times", "source"}
    if set(row) != keys:
        raise CatalogBroken(f"{PATH.name}: {name}: needs exactly {', '.join(sorted(keys))}")
    return Software(
        name=name,
        stack=row["stack"],
        step_s=row["step_us"] * 1e-6,
        kernel_s=row["kernel_us"] * 1e-6,
        sequence_s=row["sequence_us"] * 1e-6,
        prefill_times=row["prefill_times"],
        source=row["source"],
    )
