"""`perdure run`: start an agent and stay with it until it is done."""

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from perdure.agents.agent import Agent
from perdure.agents.session import Outcome, Session, how_to_go_on
from perdure.cli.screen import Progress, console, print_json, print_outcome
from perdure.cli.server_for_run import server_for
from perdure.clock import SystemClock
from perdure.config import read_places
from perdure.errors import Interrupted
from perdure.journal.store import Journal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be typed after `perdure run`."""
    parser.add_argument("agent", type=Path, help="an AGENT.toml, or the folder that holds one")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="change one of the agent's settings"
    )
    parser.add_argument("--goal", help="what to do, instead of the goal in AGENT.toml")
    parser.add_argument("--model", help="the model to use, instead of the one in AGENT.toml")
    add_connection_arguments(parser)


def add_connection_arguments(parser: argparse.ArgumentParser) -> None:
    """What `run` and `resume` share: where the model is, and how to report."""
    parser.add_argument(
        "--base-url",
        metavar="URL",
        help="the server to use, ending in /v1 (default: your own, or one is started)",
    )
    parser.add_argument("--api-key", metavar="KEY", help="its key (default: PERDURE_API_KEY or your own)")
    parser.add_argument(
        "--yes", action="store_true", help="fetch the model without asking when it is missing"
    )
    parser.add_argument("--json", action="store_true", help="print the outcome as one JSON object")
    parser.add_argument("--quiet", action="store_true", help="no progress on standard error")


def run(arguments: argparse.Namespace) -> int:
    """Start the run and see it through."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    agent = Agent.load(arguments.agent, settings=arguments.set, model=arguments.model, goal=arguments.goal)
    places, clock = read_places(), SystemClock()
    with (
        Journal(places.journal_file, clock=clock) as journal,
        server_for(
            model=agent.spec.model,
            base_url=arguments.base_url,
            api_key=arguments.api_key,
            places=places,
            clock=clock,
            yes=arguments.yes,
        ) as address,
    ):
        session = Session.start(
            agent,
            base_url=address.base_url,
            api_key=address.api_key,
            places=places,
            clock=clock,
            journal=journal,
            watch=None if arguments.quiet else Progress(),
        )
        print(f"{session.run_id}; if it is interrupted: perdure resume {session.run_id}", file=sys.stderr)
        return see_through(session, as_json=arguments.json)


def see_through(session: Session, *, as_json: bool) -> int:
    """Bring the session to its end, or raise Interrupted on SIGINT and SIGTERM; print what came of it."""
    outcome = asyncio.run(_until_told_to_stop(session))
    for told in (signal.SIGINT, signal.SIGTERM):
        signal.signal(told, signal.SIG_IGN)  # the run has ended; what is left takes no time worth breaking
    if as_json:
        print_json(outcome.as_json())
    else:
        print_outcome(outcome, console(sys.stdout))
    return 0 if outcome.status == "done" else 1


async def _until_told_to_stop(session: Session) -> Outcome:
    loop = asyncio.get_running_loop()
    work = asyncio.ensure_future(session.arun())
    for told in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(told, work.cancel)
    try:
        return await work
    except asyncio.CancelledError as stopped:
        for told in (signal.SIGINT, signal.SIGTERM):
            signal.signal(told, signal.SIG_IGN)
        raise Interrupted(f"interrupted. {how_to_go_on(session.run_id)}") from stopped
