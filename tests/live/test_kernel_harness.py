"""The harness with gcc in the real sandbox: right kernels get seconds, all others nothing and a reason."""

import shutil
import sys
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "examples" / "kernel_tuning"))

from kernel_measure import Bench, sha256
from kernel_shapes import SHAPES
from kernel_space import Point, machine_space, source_of

from perdure.agents.sandbox import Bubblewrap
from perdure.agents.tools import ToolContext
from perdure.clock import SystemClock
from perdure.errors import BadRequest

pytestmark = pytest.mark.usefixtures("gcc", "bubblewrap")

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "kernel_tuning"
TEMPLATE = (EXAMPLE / "kernel.c.in").read_text(encoding="utf-8")
BASELINE = (EXAMPLE / "baseline.c").read_text(encoding="utf-8")
SIGNATURE = (
    "void attention(const float *q, const float *k, const float *v, float *out, int heads, int kv_heads, "
    "int queries, int keys, int dim)"
)


def bench_in(
    workspace: Path, state: MutableMapping[str, Any] | None = None, folder: Path = EXAMPLE, repeats: int = 1
) -> Bench:
    """A bench on the real sandbox."""
    clock = SystemClock()
    context = ToolContext(
        run_id="run",
        key="key",
        workspace=workspace,
        folder=folder,
        settings={"repeats": repeats},
        state={} if state is None else state,
        history=(),
        sandbox=Bubblewrap(workspace=workspace, clock=clock, on_start=lambda process: None),
        clock=clock,
    )
    return Bench(context)


def with_baseline(before: str, instead: str) -> str:
    """A kernel that may call the baseline under the name `honest`."""
    return f"{before}\n{BASELINE.replace('void attention(', 'static void honest(')}\n{SIGNATURE} {instead}\n"


CALL_HONEST = "honest(q, k, v, out, heads, kv_heads, queries, keys, dim);"

# Each parameter of the space has each of its values in one of these.
FIELDS = ("q", "kv", "rows", "unroll", "vec", "layout", "order", "exp", "acc", "prefetch")
SAMPLE = [
    dict(zip(FIELDS, values, strict=True))
    for values in (
        (8, 64, 1, 1, 1, "direct", "q", "libm", "float", 0),
        (16, 128, 2, 2, 4, "packed", "kv", "p5", "double", 4),
        (32, 256, 4, 4, 8, "direct", "kv", "p4", "float", 16),
        (64, 512, 8, 2, 16, "packed", "q", "p5", "float", 64),
        (128, 64, 8, 4, 16, "direct", "q", "p4", "double", 4),
    )
]


def test_the_baseline_agrees_with_the_float64_reference(tmp_path: Path) -> None:
    """The pinned baseline is correct and gets seconds for every shape."""
    bench = bench_in(tmp_path)
    measured = bench.measure(bench.baseline_source())
    assert measured.ok, measured.reason
    assert 0 < measured.error < 1e-3
    assert len(measured.seconds) == len(SHAPES)
    assert all(taken > 0 for taken in measured.seconds)


def test_a_changed_baseline_is_refused(tmp_path: Path) -> None:
    """The speedup's denominator cannot be changed without a word."""
    folder = tmp_path / "folder"
    shutil.copytree(EXAMPLE, folder)
    (folder / "baseline.c").write_text(BASELINE + "\n", encoding="utf-8")
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    with pytest.raises(BadRequest, match="hash"):
        bench_in(workspace, folder=folder).baseline_source()


@pytest.mark.parametrize("choices", SAMPLE, ids=lambda choices: f"vec{choices['vec']}-{choices['acc']}")
def test_points_of_the_space_are_correct(choices: dict[str, Any], tmp_path: Path) -> None:
    """Every value of every parameter but exp=bits occurs in a kernel that passes, on every shape."""
    widest = machine_space().values["vec"][-1]
    point = Point(**{**choices, "vec": min(choices["vec"], widest)}, threads=2, pin=choices["rows"] % 2)
    measured = bench_in(tmp_path).measure(source_of(point, TEMPLATE))
    assert measured.ok, measured.reason


def test_the_coarse_exponential_scores_nothing(tmp_path: Path) -> None:
    """exp=bits is legal, compiles, is fast and is wrong."""
    point = Point(**{**SAMPLE[2], "exp": "bits"}, threads=1, pin=0)
    measured = bench_in(tmp_path).measure(source_of(point, TEMPLATE))
    assert not measured.ok
    assert measured.reason.startswith("wrong on prefill-640")
    assert measured.seconds == ()


# Writes a result to every descriptor that it can open; those of the sandbox's first process are among them.
FORGERY = (
    """
    #include <fcntl.h>
    #include <signal.h>
    #include <stdio.h>
    #include <string.h>
    #include <unistd.h>
    __attribute__((constructor)) static void forge(void) {
        const char *line = "1 {\\"ok\\":true,\\"reason\\":\\"\\",\\"error\\":0,"
                           "\\"seconds\\":[1e-9,1e-9,1e-9,1e-9,1e-9]}\\n";
        for (int pid = 1; pid < 100; pid++)
            for (int fd = 0; fd < 20; fd++) {
                char path[64];
                snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, fd);
                int out = pid == getpid() ? -1 : open(path, O_WRONLY);
                if (out >= 0 && write(out, line, strlen(line)) > 0) close(out);
            }
        AFTERWARDS;
    }
    """
    + SIGNATURE
    + "{}"
)

FAILURES = {
    "wrong": (with_baseline("", f"{{ {CALL_HONEST} out[0] += 0.5f; }}"), "wrong on"),
    "one row wrong": (
        with_baseline("", f"{{ {CALL_HONEST} if (queries > 1) out[(queries - 1) * dim] += 0.5f; }}"),
        "wrong on",
    ),
    "does nothing": (f"{SIGNATURE} {{}}", "wrong on"),
    "crashes": (f"{SIGNATURE} {{ *(volatile int *)0 = 1; }}", "crashed with signal 11"),
    "hangs": (f'{SIGNATURE} {{ for (;;) __asm__ volatile(""); }}', "hung"),
    "exits": (f"#include <stdlib.h>\n{SIGNATURE} {{ exit(0); }}", "ended by itself with code 0"),
    "does not compile": (f"{SIGNATURE} {{ return speed; }}", "does not compile"),
    "has no function": ("int attention_too_late;", "no function `attention`"),
    "remembers the first answer": (
        with_baseline(
            "#include <string.h>\nstatic float kept[1 << 20]; static int known;",
            f"{{ size_t n = (size_t)heads * queries * dim; if (known != queries + keys) {{ {CALL_HONEST} "
            "memcpy(kept, out, n * 4); known = queries + keys; } else memcpy(out, kept, n * 4); }",
        ),
        "wrong on",
    ),
    "finishes after it returned": (
        with_baseline(
            "#include <pthread.h>\n#include <unistd.h>\nstatic const float *a, *b, *c; static float *d; "
            "static int e, f, g, h, i;",
            "{ a = q, b = k, c = v, d = out, e = heads, f = kv_heads, g = queries, h = keys, i = dim; "
            "pthread_t t; extern void *later(void *); pthread_create(&t, 0, later, 0); }\n"
            "void *later(void *x) { usleep(2000); honest(a, b, c, d, e, f, g, h, i); return x; }",
        ),
        "wrong on",
    ),
    "prints a result on every way out": (
        FORGERY.replace("AFTERWARDS", ""),
        "no result that the harness signed",
    ),
    "prints a result and kills the harness": (
        FORGERY.replace("AFTERWARDS", "kill(getppid(), SIGKILL);"),
        "no result that the harness signed",
    ),
    "says done before it is": (
        f"#include <unistd.h>\n{SIGNATURE} {{ unsigned char which = 0; write(12, &which, 1); pause(); }}",
        "wrong on",
    ),
    "kills the harness": (
        f"#include <signal.h>\n#include <unistd.h>\n{SIGNATURE} {{ kill(getppid(), SIGKILL); pause(); }}",
        "no result that the harness signed",
    ),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_kernel_that_is_not_right_scores_nothing_and_says_why(name: str, tmp_path: Path) -> None:
    """Wrong, broken, endless or lying: no seconds come out, and the reason names what happened."""
    source, reason = FAILURES[name]
    measured = bench_in(tmp_path).measure(source)
    assert not measured.ok
    assert measured.seconds == ()
    assert reason in measured.reason


CANNOT = {
    "open the harness": "char path[64]; for (int fd = 0; fd < 20; fd++) { snprintf(path, sizeof path, "
    '"/proc/%d/fd/%d", getppid(), fd); found |= open(path, O_WRONLY) >= 0; }',
    "trace the harness": "found = ptrace(PTRACE_ATTACH, getppid(), 0, 0) == 0;",
    "start a process": "found = fork() >= 0 || vfork() >= 0;",
    "start a program": 'FILE *f = popen("true", "r"); found = f != 0;',
    "write a file": 'signal(SIGXFSZ, SIG_IGN); FILE *f = fopen("planted", "w"); '
    'if (f) found = fputs("x", f) >= 0 && fclose(f) == 0;',
}


@pytest.mark.parametrize("what", CANNOT)
def test_what_a_kernel_cannot_do(what: str, tmp_path: Path) -> None:
    """The kernel's answer is right only if what it tried did not work; it is right."""
    headers = ("fcntl.h", "signal.h", "stdio.h", "sys/ptrace.h", "unistd.h")
    includes = "\n".join(f"#include <{name}>" for name in headers)
    tries = with_baseline(includes, f"{{ int found = 0; {CANNOT[what]} {CALL_HONEST} out[0] += found; }}")
    measured = bench_in(tmp_path).measure(tries)
    assert measured.ok, measured.reason


def test_a_measurement_is_kept_and_a_forged_one_is_not_believed(tmp_path: Path) -> None:
    """The second time costs nothing; a record without our seal is measured again."""
    state: dict[str, Any] = {}
    first = bench_in(tmp_path, state).measure(BASELINE)
    assert bench_in(tmp_path, state).measure(BASELINE) == first
    (record,) = tmp_path.glob("measured-*.json")
    seal, _, body = record.read_bytes().partition(b"\n")
    record.write_bytes(seal + b"\n" + body.replace(b'"seconds":[', b'"seconds":[1e-9,'))
    again = bench_in(tmp_path, state).measure(BASELINE)
    assert again.ok
    assert min(again.seconds) > 1e-6


def test_a_harness_that_was_replaced_is_built_again(tmp_path: Path) -> None:
    """A program of ours runs only with the hash that the session's state holds."""
    state: dict[str, Any] = {}
    bench_in(tmp_path, state).measure(BASELINE)
    (tmp_path / "build-harness").write_text("#!/bin/sh\necho lies\n", encoding="utf-8")
    measured = bench_in(tmp_path, state).measure(BASELINE, again=True)
    assert measured.ok, measured.reason


def test_nothing_is_written_through_a_link_that_a_kernel_left(tmp_path: Path) -> None:
    """A link in the workspace to a file outside does not make us overwrite that file."""
    outside = tmp_path / "outside"
    outside.write_text("mine", encoding="utf-8")
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    bench = bench_in(workspace)
    (workspace / f"source-{sha256(BASELINE)}.c.new").symlink_to(outside)
    (workspace / f"source-{sha256(BASELINE)}.c").symlink_to(outside)
    assert bench.kept_source(bench.keep_source(BASELINE)) == BASELINE
    assert outside.read_text(encoding="utf-8") == "mine"


def test_the_peak_is_above_what_the_baseline_reaches(tmp_path: Path) -> None:
    """The measured peak bounds a measured kernel from above."""
    bench = bench_in(tmp_path)
    peak, measured = bench.peak(), bench.measure(BASELINE)
    rates = [shape.operations / taken for shape, taken in zip(SHAPES, measured.seconds, strict=True)]
    assert peak.flops_per_s > max(rates)
    assert peak.read_bytes_per_s > 0
