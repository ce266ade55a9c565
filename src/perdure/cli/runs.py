"""`perdure runs`: the runs on this machine, newest first."""

import argparse
import sys
from datetime import UTC, datetime

from rich.table import Table

from perdure.agents.loop import load
from perdure.agents.session import STREAM_KIND, outcome
from perdure.cli.screen import console, print_json
from perdure.clock import SystemClock
from perdure.config import read_places
from perdure.journal.store import Journal
from perdure.units import seconds_text

SHOWN_MAX = 50


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be typed after `perdure runs`."""
    parser.add_argument("--json", action="store_true", help="print a JSON array")
    parser.add_argument("--limit", type=int, default=SHOWN_MAX, help=f"how many (default {SHOWN_MAX})")


def run(arguments: argparse.Namespace) -> int:
    """Print the runs."""
    places = read_places()
    rows: list[dict[str, object]] = []
    if places.journal_file.is_file():
        with Journal(places.journal_file, clock=SystemClock()) as journal:
            for stream in journal.streams(STREAM_KIND)[: arguments.limit]:
                state = load(journal, stream.id)
                started = datetime.fromtimestamp(stream.created_s, UTC).strftime("%Y-%m-%d %H:%M:%S")
                spec = state.spec
                rows.append(
                    {"agent": spec["name"], "started": started, **outcome(stream.id, state).as_json()}
                )
    if arguments.json:
        print_json(rows)
        return 0
    if not rows:
        print("no runs yet; start one: perdure run AGENT.toml, or make one: perdure init NAME")
        return 0
    table = Table(box=None)
    for heading in ("run", "agent", "status", "started (UTC)", "turns", "tools", "work"):
        table.add_column(heading, justify="right" if heading in ("turns", "tools", "work") else "left")
    for row in rows:
        status = "interrupted or going on" if row["status"] == "running" else str(row["status"])
        work = seconds_text(float(str(row["wall_s"])))
        table.add_row(
            str(row["run_id"]),
            str(row["agent"]),
            status,
            str(row["started"]),
            str(row["turns"]),
            str(row["tool_calls"]),
            work,
        )
    console(sys.stdout).print(table)
    return 0
