"""`perdure resume`: go on with a run that was interrupted."""

import argparse
import signal
import sys

from perdure.agents.agent import Agent
from perdure.agents.session import Session, how_to_go_on
from perdure.cli.run import add_connection_arguments, see_through
from perdure.cli.screen import Progress, console, print_json, print_outcome
from perdure.cli.server_for_run import server_for
from perdure.clock import SystemClock
from perdure.config import read_places
from perdure.errors import Interrupted
from perdure.journal.store import Journal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be typed after `perdure resume`."""
    parser.add_argument("run_id", help="the run, as `perdure runs` lists it")
    add_connection_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Settle what the dead process left, and see the run through. A finished run is only reported."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return _resume(arguments)
    except KeyboardInterrupt as stopped:
        raise Interrupted(f"interrupted. {how_to_go_on(arguments.run_id)}") from stopped


def _resume(arguments: argparse.Namespace) -> int:
    places, clock = read_places(), SystemClock()
    with Journal(places.journal_file, clock=clock) as journal:
        found = Session.open(arguments.run_id, places=places, clock=clock, journal=journal)
        outcome = found.outcome()
        if outcome.status != "running":
            if arguments.json:
                print_json(outcome.as_json())
            else:
                print_outcome(outcome, console(sys.stdout))
            return 0 if outcome.status == "done" else 1
        _say_what_changed(found.agent)
        with server_for(
            model=found.agent.spec.model,
            base_url=arguments.base_url,
            api_key=arguments.api_key,
            places=places,
            clock=clock,
            yes=arguments.yes,
        ) as address:
            session = Session.open(
                arguments.run_id,
                agent=found.agent,
                base_url=address.base_url,
                api_key=address.api_key,
                places=places,
                clock=clock,
                journal=journal,
                watch=None if arguments.quiet else Progress(),
            )
            return see_through(session, as_json=arguments.json)


def _say_what_changed(agent: Agent) -> None:
    if agent.changed:
        print(
            f"note: {agent.spec.source} or its tools changed since this run started. The run keeps its "
            "words, limits and settings; the tools run as they are now.",
            file=sys.stderr,
        )
