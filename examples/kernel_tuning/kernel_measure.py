"""How a C source becomes seconds that can be believed: compiled, checked and timed in the sandbox, once.

What is measured is kept in the workspace, so that a resumed run does not measure it again. A kernel under
test can write there too; so every record carries a seal whose key lies in the session's state, out of its
reach, and every program that we build is compared with the hash that the state holds.
"""

import hashlib
import hmac
import os
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from kernel_machine import cpu_flags, cpu_name, vector_floats_max
from kernel_shapes import SHAPES

from perdure.agents.tools import Completed, Runs, ToolContext
from perdure.errors import BadRequest, SandboxUnavailable
from perdure.processes import usable_cores
from perdure.rng import new_secret

BASELINE_SHA256 = "3ea9dec04dcd33f1216a61b052fa3b422defb43dff1b45b895529af51bf0bece"
FLAGS = ("-O3", "-march=native", "-std=gnu11", "-pthread", "-Wno-psabi")

COMPILE_S_MAX = 30.0
HARNESS_S_MAX = 60.0
CALL_S_MAX = 2.0
SHAPE_S_MAX = 0.05
SOURCE_CHARS_MAX = 200_000
REPEATS_MAX = 25
PRIME = 2**61 - 1  # of the harness's one-time code

Line = TypeVar("Line")

GCC_MISSING = "the sandbox has no working gcc. Install it: sudo apt-get install gcc libc6-dev"


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """One kernel on all shapes. A kernel that is not `ok` scores nothing, and `reason` says why.

    seconds  the median for each shape
    error    the largest error on any shape, as a share of the reference's root mean square
    """

    ok: bool
    reason: str = ""
    error: float = 0.0
    seconds: tuple[float, ...] = ()


class Peak(msgspec.Struct, frozen=True, kw_only=True):
    """What the machine reached on all threads, doing nothing else."""

    flops_per_s: float
    read_bytes_per_s: float


class Bench:
    """Measures kernels for one session, one at a time. Only the tools of that session use it."""

    def __init__(self, context: ToolContext) -> None:
        self._folder = context.folder
        self._workspace = context.workspace
        self._sandbox: Runs = context.sandbox
        self._state: MutableMapping[str, Any] = context.state
        self._repeats = min(int(context.settings["repeats"]), REPEATS_MAX)
        self._state.setdefault("seal", new_secret())
        self._compiler = self._find_compiler()

    @property
    def machine(self) -> dict[str, Any]:
        """What the seconds belong to."""
        return {
            "cpu": cpu_name(),
            "cores": usable_cores(),
            "vector_floats": vector_floats_max(cpu_flags()),
            "compiler": self._compiler,
            "flags": " ".join(FLAGS),
        }

    def baseline_source(self) -> str:
        """The baseline, if it still is the one whose hash is pinned; else BadRequest."""
        source = (self._folder / "baseline.c").read_text(encoding="utf-8")
        found = sha256(source)
        if found != BASELINE_SHA256:
            raise BadRequest(
                f"baseline.c has the hash {found[:12]}, not {BASELINE_SHA256[:12]}: "
                "speedups against a changed baseline mean nothing. Restore the file."
            )
        return source

    def measure(self, source: str, *, again: bool = False) -> Measured:
        """`source` on every shape; from the workspace where it was measured before, unless `again`."""
        key = sha256(f"{source}\0{self.machine}\0{self._repeats}\0{self._harness_sha256()}")
        known = None if again else self._recall(key)
        if known is not None:
            return known
        measured = self._compile_and_time(source, key)
        if not again:
            self._remember(key, measured)
        return measured

    def keep_source(self, source: str) -> str:
        """Keep a source in the workspace under its hash, and return the hash."""
        name = sha256(source)
        _write(self._workspace / f"source-{name}.c", source.encode())
        return name

    def kept_source(self, name: str) -> str:
        """The source of that hash; BadRequest when it was changed since."""
        path = self._workspace / f"source-{name}.c"
        source = path.read_text(encoding="utf-8") if path.is_file() else ""
        if sha256(source) != name:
            raise BadRequest(f"the source {name[:12]} in the workspace was changed since it was measured")
        return source

    def peak(self) -> Peak:
        """Measured now: the best of several rounds."""
        width = vector_floats_max(cpu_flags())
        program = self._build("peak", [f"-DVECTOR={width}", str(self._folder / "peak.c")])
        ended = self._sandbox.run([str(program), str(usable_cores())], timeout_s=HARNESS_S_MAX)
        peak = _decode(ended.stdout, Peak)
        if peak is None:
            raise SandboxUnavailable(f"the peak could not be measured: {_why(ended)}")
        return peak

    def _compile_and_time(self, source: str, key: str) -> Measured:
        if len(source) > SOURCE_CHARS_MAX:
            return Measured(ok=False, reason=f"the source is longer than {SOURCE_CHARS_MAX} characters")
        written, library = self._workspace / f"try-{key}.c", self._workspace / f"try-{key}.so"
        harness = self._build_harness()
        _write(written, source.encode())
        try:
            ended = self._gcc(["-shared", "-fPIC", "-o", str(library), str(written), "-lm"])
            if ended.exit_code != 0:
                return Measured(ok=False, reason=f"does not compile: {_first_error(ended)}")
            return self._time(harness, library)
        finally:
            written.unlink(missing_ok=True)
            library.unlink(missing_ok=True)

    def _time(self, harness: Path, library: Path) -> Measured:
        """Run the harness. Without a line under this call's seal the kernel scores nothing."""
        secret = new_secret()
        r, s, seed = (int(sha256(secret + purpose), 16) % PRIME for purpose in ("r", "s", "seed"))
        argv = [str(harness), str(library), str(self._repeats), str(CALL_S_MAX), str(SHAPE_S_MAX)]
        ended = self._sandbox.run(argv, stdin=f"{r} {s} {seed}\n", timeout_s=HARNESS_S_MAX)
        seal, _, line = ended.stdout.strip().partition(" ")
        measured = _decode(line, Measured)
        if measured is None or seal != str(_sealed(line, r, s)):
            return Measured(ok=False, reason=f"no result that the harness signed: {_why(ended)}")
        return measured if measured.ok else Measured(ok=False, reason=measured.reason, error=measured.error)

    def _build_harness(self) -> Path:
        shapes = ",".join(
            f'{{"{s.name}",{s.heads},{s.kv_heads},{s.queries},{s.keys},{s.dim}}}' for s in SHAPES
        )
        return self._build("harness", [f"-DSHAPE_LIST={shapes}", str(self._folder / "harness.c")])

    def _harness_sha256(self) -> str:
        return sha256((self._folder / "harness.c").read_text(encoding="utf-8") + str(SHAPES))

    def _build(self, name: str, arguments: list[str]) -> Path:
        """One of our own programs, built unless the file is the one whose hash the state holds."""
        program = self._workspace / f"build-{name}"
        built: dict[str, str] = self._state.setdefault("built", {})
        if program.is_file() and built.get(name) == hashlib.sha256(program.read_bytes()).hexdigest():
            return program
        program.unlink(missing_ok=True)
        ended = self._gcc(["-o", str(program), *arguments, "-lm"])
        if ended.exit_code != 0:
            raise SandboxUnavailable(f"{name}.c cannot be built: {_first_error(ended)}. {GCC_MISSING}")
        built[name] = hashlib.sha256(program.read_bytes()).hexdigest()
        return program

    def _gcc(self, arguments: list[str]) -> Completed:
        argv = ["gcc", *FLAGS, *arguments]
        return self._sandbox.run(argv, timeout_s=COMPILE_S_MAX, read_only=(self._folder,))

    def _find_compiler(self) -> str:
        ended = self._sandbox.run(["gcc", "--version"], timeout_s=COMPILE_S_MAX)
        if ended.exit_code != 0 or not ended.stdout:
            raise SandboxUnavailable(GCC_MISSING)
        return ended.stdout.splitlines()[0]

    def _recall(self, key: str) -> Measured | None:
        path = self._workspace / f"measured-{key}.json"
        if not path.is_file():
            return None
        seal, _, body = path.read_bytes().partition(b"\n")
        genuine = hmac.compare_digest(seal, self._seal(key, body))
        return msgspec.json.decode(body, type=Measured) if genuine else None

    def _remember(self, key: str, measured: Measured) -> None:
        body = msgspec.json.encode(measured)
        _write(self._workspace / f"measured-{key}.json", self._seal(key, body) + b"\n" + body)

    def _seal(self, key: str, body: bytes) -> bytes:
        secret: str = self._state["seal"]
        return hmac.new(secret.encode(), key.encode() + body, "sha256").hexdigest().encode()


def sha256(text: str) -> str:
    """The hash by which sources and measurements are known."""
    return hashlib.sha256(text.encode()).hexdigest()


def _write(path: Path, content: bytes) -> None:
    """Write the whole file or nothing, whenever we are killed, and never through a link that a kernel left.

    The workspace has no folders of ours, because a kernel could put a link to another folder in their place.
    """
    beside = path.with_name(f"{path.name}.new")
    beside.unlink(missing_ok=True)
    with beside.open("xb") as file:
        file.write(content)
    os.replace(beside, path)


def _sealed(line: str, r: int, s: int) -> int:
    """The harness's one-time code over its line; only who knows r and s can make it."""
    total = 0
    for byte in line.encode():
        total = (total + byte) * r % PRIME
    return (total + s) % PRIME


def _decode(line: str, kind: type[Line]) -> Line | None:
    try:
        return msgspec.json.decode(line, type=kind)
    except msgspec.DecodeError:
        return None


def _first_error(ended: Completed) -> str:
    if ended.exit_code is None:
        return f"gcc took longer than {COMPILE_S_MAX:g} s"
    errors = [line for line in ended.stderr.splitlines() if "error" in line] or ended.stderr.splitlines()
    return errors[0].rpartition("/")[2][:160] if errors else f"gcc ended with code {ended.exit_code}"


def _why(ended: Completed) -> str:
    return "time limit" if ended.exit_code is None else f"it ended with code {ended.exit_code}"
