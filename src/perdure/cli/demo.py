"""`perdure demo`: an agent tunes a kernel, is killed half-way, goes on, and then meets other hardware."""

import argparse
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console

import perdure
from perdure.agents.loop import load
from perdure.agents.session import Outcome, outcome
from perdure.agents.state import SessionState
from perdure.agents.timeline import timeline
from perdure.agents.trace import with_tool_times
from perdure.cli.screen import console, print_line, print_outcome
from perdure.cli.server_for_run import own_server
from perdure.cli.trace_run import recorded_calls
from perdure.clock import Clock, SystemClock
from perdure.config import ClientEnvironment, Places, read_places
from perdure.errors import BadRequest, PerdureError
from perdure.journal.store import Journal
from perdure.traces.record import write_records
from perdure.twin.choices import estimate_rows
from perdure.twin.report import report, rows_json

EVALUATIONS = 30
RUN_S_MAX = 1800.0
POLL_S = 0.1
MODEL = "smollm2-135m"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be typed after `perdure demo`."""
    parser.add_argument(
        "--yes", action="store_true", help="fetch the model without asking when it is missing"
    )
    parser.add_argument(
        "--report",
        type=Path,
        default=Path("build/demo"),
        metavar="FOLDER",
        help="where the report goes (default: %(default)s)",
    )
    parser.add_argument(
        "--evaluations", type=int, default=EVALUATIONS, help="kernels to try (default: %(default)s)"
    )
    parser.add_argument(
        "--model", default=MODEL, help="the model that proposes kernels (default: %(default)s)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the demo and write its report."""
    out = console(sys.stdout)
    agent_file = example("kernel_tuning")
    places, clock = read_places(), SystemClock()
    out.print("1 A server with a real model, and an agent that tunes a C kernel with it.", style="bold")
    if arguments.model == MODEL:
        out.print(
            f"  {MODEL} is a load generator, not a thinker: every move it makes is legal, because a grammar "
            "forces it, and few are clever.",
        )
    with (
        own_server(model=arguments.model, places=places, clock=clock, yes=arguments.yes) as address,
        Journal(places.journal_file, clock=clock) as journal,
    ):
        demo = Demo(
            agent_file=agent_file,
            evaluations=arguments.evaluations,
            model=arguments.model,
            address=address,
            places=places,
            clock=clock,
            journal=journal,
            out=out,
        )
        run_id = demo.run_until_killed()
        finished = demo.resume(run_id)
        out.print("\n4 What happened, from the journal:", style="bold")
        lines = timeline(journal.read(run_id))
        resumed = next((place for place, line in enumerate(lines) if line.what == "resumed"), 0)
        for line in lines[max(0, resumed - 4) : resumed + 5]:
            print_line(line, out)
        out.print(f"  ({len(lines)} lines in all: {program()} show {run_id})", style="dim")
        print_outcome(finished, out, with_result=False)
        _print_result(finished, out)
        records = with_tool_times(recorded_calls(run_id, places), journal.read(run_id))
    out.print("\n5 The same session on other hardware, as a first twin sees it:\n", style="bold")
    rows = estimate_rows(records)
    out.print(report(rows, records))
    folder: Path = arguments.report
    folder.mkdir(parents=True, exist_ok=True)
    write_records(folder / "trace.jsonl", records)
    (folder / "run.json").write_bytes(orjson.dumps(finished.as_json(), option=orjson.OPT_INDENT_2))
    (folder / "estimate.json").write_bytes(orjson.dumps(rows_json(rows, records), option=orjson.OPT_INDENT_2))
    with (folder / "report.txt").open("w", encoding="utf-8") as written:
        plain = console(written)
        for line in lines:
            print_line(line, plain)
        print_outcome(finished, plain, with_result=False)
        _print_result(finished, plain)
        plain.print(report(rows, records))
    _print_next(run_id, folder, out)
    return 0 if finished.status == "done" else 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """The two processes of the demo's run: the one that is killed, and the one that goes on."""

    agent_file: Path
    evaluations: int
    model: str
    address: ClientEnvironment
    places: Places
    clock: Clock
    journal: Journal
    out: Console

    def run_until_killed(self) -> str:
        """Start the run, SIGKILL it after half of its evaluations, and return its id."""
        known = {stream.id for stream in self.journal.streams("session")}
        settings = ["--set", f"evaluations={self.evaluations}", "--model", self.model]
        process = self._perdure("run", str(self.agent_file), *settings)
        try:
            run_id = self._wait_until_half_way(process, known)
        finally:
            process.kill()
            process.wait()
        self.out.print(f"\n2 SIGKILL. Process {process.pid} is gone in the middle of its work.", style="bold")
        return run_id

    def resume(self, run_id: str) -> Outcome:
        """Go on in a new process until the run has ended, and return what came of it."""
        self.out.print(f"\n3 {program()} resume {run_id}\n", style="bold")
        process = self._perdure("resume", run_id)
        process.wait(timeout=RUN_S_MAX)
        state = load(self.journal, run_id)
        if state.status == "running":
            raise PerdureError(
                f"the resumed run stopped early (exit {process.returncode}); see: perdure show {run_id}"
            )
        return outcome(run_id, state)

    def _perdure(self, *words: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "perdure", *words, "--base-url", self.address.base_url or ""]
        return subprocess.Popen(
            [*command, "--api-key", self.address.api_key or "", "--json"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )

    def _wait_until_half_way(self, process: subprocess.Popen[bytes], known: set[str]) -> str:
        deadline_s = self.clock.monotonic_s() + RUN_S_MAX
        while self.clock.monotonic_s() < deadline_s:
            new = [stream.id for stream in self.journal.streams("session") if stream.id not in known]
            if new and _evaluated(load(self.journal, new[0])) >= self.evaluations // 2:
                return new[0]
            try:
                process.wait(timeout=POLL_S)
            except subprocess.TimeoutExpired:
                continue
            raise PerdureError(f"the run ended before it could be killed (exit {process.returncode})")
        raise PerdureError("the run did not get half-way in half an hour")


def example(name: str) -> Path:
    """The AGENT.toml of one of our examples: in a checkout, or as the wheel carries it."""
    package = Path(perdure.__file__).parent
    for folder in (package.parents[1] / "examples" / name, package / "examples" / name):
        if (folder / "AGENT.toml").is_file():
            return folder / "AGENT.toml"
    raise BadRequest(f"the example {name} is not here; run this in a checkout of Perdure")


def program() -> str:
    """How this command was typed, for the lines that a person copies."""
    return shlex.quote(sys.argv[0]) if Path(sys.argv[0]).name == "perdure" else "perdure"


def _evaluated(state: SessionState) -> int:
    return state.tool_counts.get("evaluate", 0)


def _print_result(finished: Outcome, out: Console) -> None:
    result: dict[str, Any] = finished.result or {}
    if "speedup_geomean" not in result:
        return
    ours, by_chance = result["speedup_geomean"], result["random_search_speedup_geomean"]
    out.print(
        f"  kernel: {ours:.2f}x the plain triple loop (geomean over shapes) after "
        f"{result['evaluations']} evaluations, {result['peak_share']:.0%} of this machine's measured peak"
    )
    verdict = "beat" if ours > by_chance else "did NOT beat"
    out.print(f"  random search with the same budget: {by_chance:.2f}x. The model {verdict} it.")


def _print_next(run_id: str, folder: Path, out: Console) -> None:
    out.print(f"\nThe report is in {folder}/. What to try next:")
    for command, what in (
        (f"show {run_id}", "the whole timeline"),
        ("serve", "the same endpoint for any OpenAI client"),
        ("init my-agent", "an agent of your own"),
        (f"estimate {folder}/trace.jsonl", "the table above again, on hardware you name"),
        (
            "run examples/kernel_tuning/AGENT.toml --base-url URL --api-key KEY --model NAME",
            "the same job with a model that thinks",
        ),
    ):
        out.print(f"  {program()} {command}")
        out.print(f"      {what}", style="dim")
