"""`perdure estimate`: what a recorded run would take on other hardware."""

import argparse
import json
from pathlib import Path

from rich.console import Console

from perdure.silicon.machine import WORKING_SET_BYTES, probe_machine
from perdure.traces.record import read_records
from perdure.twin.choices import HARDWARE, check_hardware, estimate_rows, recorded_file_bytes
from perdure.twin.report import report, rows_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be typed after `perdure estimate`."""
    parser.add_argument("trace", type=Path, metavar="TRACE.jsonl", help="as `perdure trace export` writes it")
    parser.add_argument(
        "--on",
        default=",".join(HARDWARE),
        metavar="HARDWARE,...",
        help="which hardware, in which order (default: %(default)s)",
    )
    parser.add_argument(
        "--probe",
        action="store_true",
        help="measure this machine's peaks too (about a second, needs gcc) and add its own roofline",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Print the table, or its JSON."""
    on = check_hardware([name.strip() for name in arguments.on.split(",") if name.strip()])
    records = read_records(arguments.trace)
    working_set_bytes = recorded_file_bytes(records) or WORKING_SET_BYTES
    machine = probe_machine(working_set_bytes=working_set_bytes) if arguments.probe else None
    rows = estimate_rows(records, on=on, machine=machine)
    if arguments.json:
        print(json.dumps(rows_json(rows, records)))
    else:
        Console().print(report(rows, records))
    return 0
