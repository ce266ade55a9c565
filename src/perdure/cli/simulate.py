"""`perdure simulate`: what a fleet would do with a workload, call by call."""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import orjson

from perdure.clock import Clock, SystemClock
from perdure.config import read_places
from perdure.errors import BadRequest, StorageFailed
from perdure.scheduling.policies import KINDS, Kind, bundle, lacking
from perdure.scheduling.policy_file import Chosen, choose_policy
from perdure.silicon.price_rent import typed_rents
from perdure.traces.programs import Programs, check_programs
from perdure.traces.workload_text import parse_workload
from perdure.twin.fault_text import parse_faults
from perdure.twin.kernel_arrays import World
from perdure.twin.pool import Pool
from perdure.twin.report_figures import report_json, report_of
from perdure.twin.run import DRAWS_MIN, Run, read_pools
from perdure.twin.run import run as run_twin
from perdure.twin.run_json import run_json
from perdure.twin.run_text import run_text
from perdure.twin.simulate import Policies
from perdure.twin.tenant_text import parse_priorities, parse_quotas
from perdure.twin.world import Options
from perdure.twin.world_faults import ON_LOSS

# What a stock vLLM can be told from outside: by whoever holds the queue before it.
ENGINE = ("order", "place", "admit", "salt")
THREADS_MAX = 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be typed after `perdure simulate`."""
    parser.epilog = (
        "Example: perdure simulate --workload agents:programs=200,hours=2 --on h200x8/qwen3-32b:tp=2 "
        "--place soft_affinity. docs/workloads.md says what workloads can be written, docs/policies.md what "
        "policies there are."
    )
    parser.add_argument(
        "--workload",
        required=True,
        metavar="W",
        help="a file of recorded calls in any known format, or synthetic:KEY=VALUE,.. or agents:KEY=VALUE,..",
    )
    parser.add_argument(
        "--on",
        required=True,
        metavar="DEPLOYMENT",
        help="HARDWARE/MODEL[:tp=N,replicas=N,..]; several pools are joined by +",
    )
    _add_decisions(parser)
    _add_faults(parser)
    _add_output(parser)


def _add_decisions(parser: argparse.ArgumentParser) -> None:
    """Policies, and what they must live with."""
    parser.add_argument("--policy", metavar="NAME", default="stock", help="all four decisions at once")
    for kind, what in (
        ("admit", "which programs are active"),
        ("order", "which waiting call goes first"),
        ("place", "to which replica a call goes"),
        ("retain", "what happens to a session's KV between its calls"),
    ):
        parser.add_argument(f"--{kind}", metavar="NAME|FILE:FUNCTION", help=what)
    parser.add_argument(
        "--hypothetical",
        action="store_true",
        help="allow policies that need more than a stock vLLM can do, and mark the result",
    )
    parser.add_argument("--fair", action="store_true", help="the tenant that had least goes first")
    parser.add_argument(
        "--quota", action="append", default=[], metavar="TENANT=N", help="calls it may have under way at once"
    )
    parser.add_argument(
        "--priority",
        action="append",
        default=[],
        metavar="TENANT=N",
        help="higher is more urgent, for --order priority and for who gives way when KV is short",
    )
    parser.add_argument("--tools", type=int, metavar="N", help="workers for tools (default: no limit)")
    parser.add_argument(
        "--event-lag",
        type=float,
        default=0.1,
        metavar="S",
        help="seconds until the router hears what an engine evicted; less than 0: it never hears (0.1)",
    )


def _add_faults(parser: argparse.ArgumentParser) -> None:
    """What breaks and what is restarted."""
    parser.add_argument(
        "--fail",
        action="append",
        default=[],
        metavar="KIND@TIME:..",
        help="chip, node, replica, rail or slow, such as chip@600s:replica=3,for=300s (docs/simulate.md)",
    )
    parser.add_argument(
        "--deploy",
        action="append",
        default=[],
        metavar="@TIME,each=S",
        help="restart all replicas one after the other, each once its calls have ended or drain=S is over",
    )
    parser.add_argument(
        "--on-loss",
        choices=ON_LOSS,
        default="resume",
        help="calls of a replica that broke go on with what was generated, begin anew, or end (resume)",
    )


def _add_output(parser: argparse.ArgumentParser) -> None:
    """Prices, draws, and where the result goes."""
    parser.add_argument(
        "--price", action="append", default=[], metavar="CHIP=LOW..HIGH", help="rent of a chip for an hour, $"
    )
    parser.add_argument(
        "--draws",
        type=int,
        default=DRAWS_MIN,
        metavar="N",
        help=f"joint draws of guessed figures, from {DRAWS_MIN} ({DRAWS_MIN}); 0: no ranges, and said so",
    )
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="draws run at once (1)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of generated workloads (0)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--html", type=Path, metavar="OUT", help="write one page with curves that needs no network"
    )
    parser.add_argument(
        "--perfetto",
        type=Path,
        metavar="OUT",
        help="write calls, slice by slice, as a trace for ui.perfetto.dev",
    )


def run(arguments: argparse.Namespace) -> int:
    """Simulate, and print what came out."""
    clock = SystemClock()
    begun_s = clock.monotonic_s()
    for path in (arguments.html, arguments.perfetto):
        if path is not None and not path.parent.is_dir():
            raise BadRequest(f"there is no folder {path.parent}; make it, or name another file than {path}")
    policies, chosen = _policies(arguments)
    reader = _Reader()
    programs = check_programs(parse_workload(arguments.workload, rng_seed=arguments.seed, read_file=reader))
    rents = typed_rents(arguments.price)
    pools = read_pools(arguments.on, rents=rents, folder=read_places().tables_dir)
    progress = _Progress(programs, clock)
    ran = run_twin(
        programs,
        pools,
        policies,
        _options(arguments, policies, pools, programs),
        draws=arguments.draws,
        threads=_threads(arguments.threads),
        clock=clock,
        on_progress=progress,
        on_draw=progress.draw,
    )
    progress.clear()
    ended_s = clock.monotonic_s()
    hypothetical = [one.name for one in chosen if lacking(one.kind, one.name, ENGINE)]
    facts = {
        "repairs": reader.repairs,
        "workload": arguments.workload,
        "on": arguments.on,
        "policies": {one.kind: one.name for one in chosen},
        "hypothetical": hypothetical,
        "seed": arguments.seed,
        "wall_s": ended_s - begun_s,
        "kernel_s": ran.kernel_s,
        "draws": arguments.draws if any(pool.draws for pool in pools) else 0,
        "guessed": any(pool.draws for pool in pools),
    }
    if arguments.json:
        report = report_of(ran.world, programs, pools)
        told = {**run_json(ran, facts), **report_json(report)}
        sys.stdout.buffer.write(orjson.dumps(told, option=orjson.OPT_INDENT_2) + b"\n")
    else:
        sys.stdout.write(run_text(ran, facts))
    _write_files(arguments, ran, facts)
    return 0


def _write_files(arguments: argparse.Namespace, ran: Run, facts: dict[str, Any]) -> None:
    """The page and the trace, where asked for; what makes them is imported only then."""
    if arguments.html is not None:
        page: str = import_module("perdure.twin.report_page").run_page(ran, facts)
        _write(arguments.html, page.encode())
    if arguments.perfetto is not None:
        trace = import_module("perdure.twin.perfetto").trace_of(ran)
        _write(arguments.perfetto, orjson.dumps(trace.content), remark=trace.left_out)


def _write(path: Path, content: bytes, *, remark: str | None = None) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise StorageFailed(f"{path} cannot be written: {error}; name another file") from error
    print(f"wrote {path}" + (f" ({remark})" if remark else ""), file=sys.stderr)


def _policies(arguments: argparse.Namespace) -> tuple[Policies, list[Chosen]]:
    """The policies that were named one by one, and of the bundle the others."""
    together = bundle(arguments.policy)
    chosen: list[Chosen] = []
    for kind in KINDS:
        text: str = getattr(arguments, kind) or getattr(together, kind)
        one = choose_policy(kind, text)
        missing = lacking(kind, one.name, ENGINE)
        if missing and not arguments.hypothetical:
            raise BadRequest(
                f"--{kind} {text} needs an engine that can {', '.join(missing)}, and a stock vLLM cannot be "
                "told to; add --hypothetical to see what it would bring",
                param=kind,
            )
        chosen.append(one)
    by_kind: dict[Kind, Chosen] = {one.kind: one for one in chosen}
    return Policies(**{kind: by_kind[kind].function for kind in KINDS}), chosen


def _options(
    arguments: argparse.Namespace, policies: Policies, pools: Sequence[Pool], programs: Programs
) -> Options:
    if arguments.tools is not None and arguments.tools < 1:
        raise BadRequest(f"--tools {arguments.tools}: at least one worker", param="tools")
    return Options(
        fair=arguments.fair,
        tools=arguments.tools,
        quotas=parse_quotas(arguments.quota, programs.tenants),
        priorities=parse_priorities(arguments.priority, programs.tenants),
        belief_lag_s=arguments.event_lag if arguments.event_lag >= 0 else None,
        faults=parse_faults(arguments.fail, arguments.deploy, pools),
        on_loss=arguments.on_loss,
        first_come=policies.first_come,
        asks_admit=policies.asks_admit,
        asks_retain=policies.asks_retain,
    )


def _threads(threads: int) -> int:
    if not 1 <= threads <= THREADS_MAX:
        raise BadRequest(f"--threads {threads}: from 1 to {THREADS_MAX}", param="threads")
    return threads


class _Reader:
    """Reads a file of calls, and keeps count of what had to be repaired or left out of it, by reason."""

    def __init__(self) -> None:
        self.repairs: dict[str, int] = {}

    def __call__(self, text: str) -> Programs:
        # Only a file needs the readers of files, which take a tenth of a second to import.
        programs, report = import_module("perdure.traces.workload").read_workload(Path(text))
        self.repairs = {**report.repaired, **report.skipped}
        return programs


class _Progress:
    """One line on a terminal's standard error, now and then."""

    def __init__(self, programs: Programs, clock: Clock) -> None:
        self._turns = len(programs.new_tokens)
        self._clock = clock
        self._shows = sys.stderr.isatty()
        self._draws = 0

    def __call__(self, world: World) -> None:
        done = int(world.clock[0].finished_turns)
        self._print(f"{done:,} of {self._turns:,} calls, simulated {world.clock[0].now_s:,.0f} s")

    def draw(self, number: int) -> None:
        """One draw more is done."""
        self._draws += 1
        self._print(f"{self._draws} draws of guessed figures")

    def clear(self) -> None:
        """Leave no line behind."""
        if self._shows:
            sys.stderr.write("\r\033[K")

    def _print(self, text: str) -> None:
        if self._shows:
            sys.stderr.write(f"\r\033[K{text}")
            sys.stderr.flush()
