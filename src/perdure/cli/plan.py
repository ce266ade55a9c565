"""`perdure plan`: which hardware, layout and policies would serve a workload best, and how sure that is."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from perdure.cli.plan_ask import BUILT_IN_AGENTS, BUILT_IN_MODEL, BUILT_IN_ON, BUNDLES, Asking, read_ask
from perdure.clock import Clock, SystemClock
from perdure.config import read_places
from perdure.errors import BadRequest, NotFound, StorageFailed
from perdure.twin.plan import Ask, Found, search
from perdure.twin.plan_choice import Chosen, choose
from perdure.twin.plan_codesign import Effect, effects_of
from perdure.twin.plan_codesign_text import codesign_json, codesign_text
from perdure.twin.plan_json import plan_csv, plan_json
from perdure.twin.plan_judge import closest
from perdure.twin.plan_measure import GOALS, TIME
from perdure.twin.plan_page import plan_page
from perdure.twin.plan_text import explain, fleet_text, plan_text
from perdure.twin.plan_trials import Candidate
from perdure.twin.run import DRAWS_MIN

SEEDS = 3
NAMED_MAX = 8
BAR = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be typed after `perdure plan`."""
    parser.epilog = (
        "Example: perdure plan --agents 400 --model qwen3.5-397b --on m890x16 --on h200x16 "
        '--slo "ttft_p95<=5s" --price m890=1..2. With nothing said: '
        f"{BUILT_IN_AGENTS} agents of {BUILT_IN_MODEL} on {', '.join(BUILT_IN_ON)}. docs/plan.md says more."
    )
    parser.add_argument(
        "--workload", metavar="W", help="as for perdure simulate; run until its last job ends"
    )
    parser.add_argument(
        "--agents", type=int, metavar="N", help="so many agents, begun within an hour, instead"
    )
    parser.add_argument("--model", metavar="M", help="the model, where --on names hardware alone")
    parser.add_argument(
        "--on",
        action="append",
        default=[],
        metavar="HARDWARE[/MODEL[:SETTINGS]]",
        help="a rack, CHIPxN, or a chip in every size up to its node; again for more",
    )
    parser.add_argument(
        "--precision", action="append", default=[], metavar="P", help="of weights; again for more"
    )
    parser.add_argument("--only", metavar="vendor=V,..", help="keep vendor, chip, rack or precision")
    parser.add_argument("--exclude", metavar="vendor=V,..", help="leave out")
    parser.add_argument("--slo", metavar="LIMITS", help='such as "jct_p95<=600s, ttft_p95<=2s"')
    parser.add_argument("--budget", metavar="LIMITS", help='such as "usd_per_h<=200"')
    parser.add_argument(
        "--goal", choices=tuple(GOALS), help="what decides (money where there is a limit, else time)"
    )
    _add_policies(parser)
    parser.add_argument(
        "--price", action="append", default=[], metavar="CHIP=LOW..HIGH", help="rent of a chip for an hour, $"
    )
    parser.add_argument("--power-price", metavar="P", help="of electricity, $ a kWh, or LOW..HIGH")
    parser.add_argument("--facts", metavar="FILE", help="your own figures (TOML), laid over the catalogue")
    parser.add_argument(
        "--vary",
        action="append",
        default=[],
        metavar="NUMBER=LOW..HIGH",
        help="say what a number of the choice does, such as chip.memory_bytes_per_s=0.5..2; all of them: all",
    )
    parser.add_argument(
        "--fleet", type=int, default=1, metavar="N", help="so many of each: one simulated, scaled"
    )
    parser.add_argument(
        "--draws",
        type=int,
        default=DRAWS_MIN,
        metavar="N",
        help=f"joint draws of guessed figures for what could be chosen ({DRAWS_MIN}); 0: none",
    )
    parser.add_argument("--seeds", type=int, default=SEEDS, metavar="N", help=f"workloads drawn ({SEEDS})")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="the first of them (0)")
    parser.add_argument(
        "--explain", metavar="CANDIDATE", help="why this one lost: its number, or part of its name"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--html", type=Path, metavar="OUT", help="write one page that needs no network")
    parser.add_argument("--csv", action="store_true", help="print one line for each candidate")


def _add_policies(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--policy",
        action="append",
        default=[],
        metavar="NAME",
        help=f"all four decisions at once; again for more ({', '.join(BUNDLES)})",
    )
    for kind, what in (
        ("admit", "which programs are active"),
        ("order", "which waiting call goes first"),
        ("place", "to which replica a call goes"),
        ("retain", "what happens to a session's KV between its calls"),
    ):
        parser.add_argument(f"--{kind}", metavar="NAME|FILE:FUNCTION", help=what)
    parser.add_argument("--hypothetical", action="store_true", help="allow what no stock vLLM can be told")
    parser.add_argument("--fair", action="store_true", help="the tenant that had least goes first")
    parser.add_argument("--tools", type=int, metavar="N", help="workers for tools (default: no limit)")


def run(arguments: argparse.Namespace) -> int:
    """Plan, and print what came out; 1 where it was interrupted, with what is known so far."""
    clock = SystemClock()
    begun_s = clock.monotonic_s()
    asking = read_ask(arguments, read_places())
    ask = asking.ask
    progress = _Progress()
    try:
        found = search(ask, clock=clock, on_progress=progress)
    finally:
        progress.clear()
    chosen, notes = _chosen(asking, found)
    effects = _effects(asking, found, chosen, clock, progress)
    if asking.racks > 1 and chosen:
        notes.append(fleet_text(found.candidates[chosen.place], asking.racks))
    facts: dict[str, Any] = {
        "workload": asking.workload,
        "slo": asking.slo,
        "budget": asking.budget,
        "goal": asking.goal,
        "by": chosen.axis if chosen else ask.goal,
        "seeds": list(asking.seeds),
        "seed": asking.seeds[0],
        "draws": ask.draws,
        "programs": len(ask.programs[0].arrival_s),
        "turns": len(ask.programs[0].new_tokens),
        "complete": found.complete,
        "notes": [*asking.notes, *notes],
        "wall_s": clock.monotonic_s() - begun_s,
    }
    if arguments.explain:
        place = _named(found.candidates, arguments.explain)
        sys.stdout.write(explain(found.candidates, place, chosen, ask.targets))
    elif arguments.json:
        answer = plan_json(found.candidates, chosen, facts, ask.targets)
        if effects:
            answer["codesign"] = codesign_json(effects, _varied(found, chosen, ask).name)
        sys.stdout.buffer.write(orjson.dumps(answer, option=orjson.OPT_INDENT_2) + b"\n")
    elif arguments.csv:
        sys.stdout.write(plan_csv(found.candidates, chosen))
    else:
        sys.stdout.write(plan_text(found.candidates, chosen, facts, ask.targets))
        if effects:
            sys.stdout.write("\n" + codesign_text(effects, _varied(found, chosen, ask).name))
    if arguments.html:
        _write_page(arguments.html, plan_page(found.candidates, chosen, facts, effects))
    return 0 if found.complete else 1


def _write_page(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StorageFailed(f"{path} cannot be written: {error}; name another file") from error
    print(f"wrote {path}", file=sys.stderr)


def _chosen(asking: Asking, found: Found) -> tuple[Chosen | None, list[str]]:
    """The choice by the goal; by job time where nothing that meets the target has a figure for the goal."""
    ask = asking.ask
    limits = (ask.targets, ask.budgets, ask.draws)
    chosen = choose(found.candidates, ask.goal, *limits)
    if chosen is not None or ask.goal == TIME or any(one.name.startswith("usd") for one in ask.budgets):
        return chosen, []
    by_time = choose(found.candidates, TIME, *limits)
    known = (
        []
        if by_time is None
        else [f"nothing that is feasible has a figure for {asking.goal}: job time decides"]
    )
    return by_time, known


def _effects(
    asking: Asking, found: Found, chosen: Chosen | None, clock: Clock, progress: "_Progress"
) -> list[Effect]:
    """What the numbers that were to be varied do, to the choice or to what comes closest to one."""
    if not asking.varies or not found.complete:
        return []
    try:
        return effects_of(
            _varied(found, chosen, asking.ask), asking.varies, asking.ask, clock=clock, on_progress=progress
        )
    finally:
        progress.clear()


def _varied(found: Found, chosen: Chosen | None, ask: Ask) -> Candidate:
    place = chosen.place if chosen else closest(found.candidates, ask.targets)
    if place is None:
        raise BadRequest("nothing that was named can run the workload: nothing to vary", param="vary")
    return found.candidates[place]


def _named(found: Sequence[Candidate], text: str) -> int:
    """The place of the candidate that `text` numbers or names; every word of it is in its name."""
    if text.isdecimal() and int(text) < len(found):
        return int(text)
    words = text.lower().split()
    fitting = [place for place, one in enumerate(found) if all(word in one.name.lower() for word in words)]
    if not fitting:
        shown = "; ".join(one.name for one in found[:NAMED_MAX])
        raise NotFound(f"no candidate is called {text!r}; there are {shown} ..")
    return fitting[0]


class _Progress:
    """A bar on a terminal's standard error."""

    def __init__(self) -> None:
        self._shows = sys.stderr.isatty()

    def __call__(self, done: int, total: int, what: str) -> None:
        if self._shows:
            full = BAR * done // max(1, total)
            bar = "#" * full + "-" * (BAR - full)
            sys.stderr.write(f"\r\033[K[{bar}] {done} of {total} {what}; Ctrl-C prints what is known")
            sys.stderr.flush()

    def clear(self) -> None:
        """Leave no line behind."""
        if self._shows:
            sys.stderr.write("\r\033[K")
