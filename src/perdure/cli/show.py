"""`perdure show`: one run as a timeline."""

import argparse
import sys

from perdure.agents.loop import load
from perdure.agents.session import how_to_go_on, outcome
from perdure.agents.timeline import timeline
from perdure.cli.screen import console, print_json, print_line, print_outcome
from perdure.clock import SystemClock
from perdure.config import read_places
from perdure.errors import NotFound
from perdure.journal.store import Journal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be typed after `perdure show`."""
    parser.add_argument("run_id", help="the run, as `perdure runs` lists it")
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object")
    parser.add_argument("--last", type=int, metavar="N", help="only the last N lines")


def run(arguments: argparse.Namespace) -> int:
    """Print the run's timeline, then its figures."""
    places = read_places()
    if not places.journal_file.is_file():
        raise NotFound(f"there is no run {arguments.run_id!r} here; start one: perdure run AGENT.toml")
    with Journal(places.journal_file, clock=SystemClock()) as journal:
        state = load(journal, arguments.run_id)
        figures = outcome(arguments.run_id, state)
        if arguments.json:
            print_json(figures.as_json())
            return 0
        lines = timeline(journal.read(arguments.run_id))
    out = console(sys.stdout)
    for line in lines[-arguments.last :] if arguments.last else lines:
        print_line(line, out)
    out.print()
    print_outcome(figures, out)
    if figures.status == "running":
        out.print(
            f"  not finished: going on in another process, or interrupted. {how_to_go_on(figures.run_id)}"
        )
    return 0
