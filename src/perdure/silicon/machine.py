"""What the machine under our feet can do at best, measured now by a small C program.

A shared machine gives another number each time; what is returned is the best of several rounds.
"""

import os
import subprocess
import tempfile
from pathlib import Path

from perdure.catalog.dimension import BANDWIDTH, COMPUTE, SIZE, TIME, Dimension
from perdure.catalog.entry import Entry, Names
from perdure.catalog.figure import Figure, Status
from perdure.config import executable
from perdure.errors import Unavailable
from perdure.processes import usable_cores
from perdure.units import MIB, bytes_text

ID = "this-machine"
SOURCE = Path(__file__).parent / "peak.c"
COMPILE_TIMEOUT_S = 60.0
RUN_TIMEOUT_S = 60.0
WORKING_SET_BYTES = 256 * MIB
WORKING_SET_BYTES_MAX = 1024 * MIB


def probe_machine(*, working_set_bytes: int = WORKING_SET_BYTES) -> Entry:
    """This machine as a chip: FP32 multiply-adds and bytes read per second, on all usable cores.

    Bandwidth is that of reading `working_set_bytes` over and over, as decode reads a model's weights, so
    that a large last-level cache counts. Raises Unavailable where no C compiler is installed.
    """
    compiler = executable("gcc") or executable("cc")
    if compiler is None:
        raise Unavailable("this machine cannot be measured without a C compiler: sudo apt-get install gcc")
    cores = usable_cores()
    system_bytes = machine_memory_bytes()
    size_bytes = min(working_set_bytes, WORKING_SET_BYTES_MAX)
    with tempfile.TemporaryDirectory(prefix="perdure-peak-") as folder:
        program = Path(folder) / "peak"
        _compile(compiler, program)
        flop_per_s, bytes_per_s = _run(program, cores, size_bytes // cores)
    return machine_entry(
        flop_per_s=flop_per_s,
        bytes_per_s=bytes_per_s,
        memory_bytes=system_bytes,
        how=f"measured now on {cores} cores, best of several rounds of {bytes_text(size_bytes)}",
    )


def machine_memory_bytes() -> int:
    """Bytes of memory that the operating system reports."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def machine_entry(*, flop_per_s: float, bytes_per_s: float, memory_bytes: float, how: str) -> Entry:
    """This machine as a chip of those peaks; `how` says how they were measured."""
    widened = f"weights in BF16 are widened and multiplied in FP32, {how}"
    figures = (
        _figure("memory", memory_bytes, SIZE, "gb", "what the operating system reports"),
        _figure("memory_bandwidth", bytes_per_s, BANDWIDTH, "gb_per_s", how),
        _figure("fp32_dense", flop_per_s, COMPUTE, "gflop_per_s", f"FP32 multiply-adds, {how}"),
        _figure("bf16_dense", flop_per_s, COMPUTE, "gflop_per_s", widened),
        _figure("launch", 0.0, TIME, "us", "a processor calls a function; it launches nothing"),
    )
    return Entry(
        kind="chips",
        id=ID,
        words={"title": "this machine", "maker": "yours"},
        figures={figure.name: figure for figure in figures},
        lists={
            "precisions": Names(names=("fp32", "bf16"), status=Status.MEASURED, source=how),
            "kv_precisions": Names(
                names=("fp32", "bf16"), status=Status.MEASURED, source="what llama.cpp keeps on a processor"
            ),
            "engines": Names(
                names=("llama.cpp",), status=Status.MEASURED, source="the engine that comes with Perdure"
            ),
        },
    )


def _figure(quantity: str, value: float, dimension: Dimension, unit: str, source: str) -> Figure:
    return Figure(
        owner=f"chips/{ID}",
        quantity=quantity,
        name=f"{quantity}_{dimension.base}",
        low=value,
        mid=value,
        high=value,
        status=Status.MEASURED,
        source=source,
        unit=dimension.units[unit].text,
        scale=dimension.units[unit].scale,
        more_is_faster=dimension.more_is_faster,
    )


def _compile(compiler: Path, program: Path) -> None:
    """Build the program for exactly this processor, or for its family where the compiler cannot tell."""
    command = [str(compiler), "-O3", "-std=gnu11", "-pthread", str(SOURCE), "-o", str(program)]
    built = _finish([*command, "-march=native"], COMPILE_TIMEOUT_S)
    if built.returncode != 0:
        built = _finish(command, COMPILE_TIMEOUT_S)
    if built.returncode != 0:
        raise Unavailable(f"{compiler} cannot compile {SOURCE.name}: {built.stderr.strip()[:400]}")


def _run(program: Path, threads: int, bytes_per_thread: int) -> tuple[float, float]:
    done = _finish([str(program), str(threads), str(bytes_per_thread)], RUN_TIMEOUT_S)
    numbers = done.stdout.split()
    if done.returncode != 0 or len(numbers) != 2:
        needed = bytes_text(threads * bytes_per_thread)
        raise Unavailable(
            f"measuring this machine failed (exit {done.returncode}); it needs {needed} of memory"
        )
    return float(numbers[0]), float(numbers[1])


def _finish(command: list[str], timeout_s: float) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"this machine cannot be measured: {error}") from error
