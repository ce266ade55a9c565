"""Which command the user typed, and who carries it out.

A command is a module of this package with `add_arguments(parser)` and `run(arguments) -> exit code`; only
the module of the command that was typed is imported, which keeps `perdure --help` fast.
"""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from perdure.errors import Interrupted, PerdureError
from perdure.version import __version__

COMMANDS = {
    "serve": "answer OpenAI clients with a model on this machine",
    "env": "print the shell lines that point clients at your server",
    "init": "make a folder with an agent to start from",
    "run": "run an agent, durably, until it is done",
    "resume": "go on with a run that was interrupted",
    "runs": "list the runs on this machine",
    "show": "print one run as a timeline",
    "trace": "show, import and export what agents asked of their models, without text",
    "cost": "say what one batch costs on any chip: seconds, joules, money",
    "simulate": "say what a fleet would do with a workload, call by call",
    "plan": "say which hardware would serve a workload best, and how sure that is",
    "estimate": "say what a recorded run would take on other hardware",
    "catalog": "print what is known of chips, racks and models, and who says so",
    "validate": "score our predictions on measured runs",
    "models": "fetch, list, check and remove model files",
    "demo": "kill an agent half-way, resume it, and see what it would take on an M890",
}


# They compute and print, and leave nothing open: their process need not take down what numba has built up.
ENDS_AT_ONCE = ("simulate",)


def entry() -> NoReturn:
    """The `perdure` command: run what was typed, and end the process."""
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    if any(word in ENDS_AT_ONCE for word in sys.argv[1:2]):
        os._exit(code)
    sys.exit(code)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: the process's own) and return the exit code.

    0 done, 1 failed, 2 bad usage, 75 interrupted and resumable.
    """
    try:
        return _main(list(sys.argv[1:] if argv is None else argv))
    except KeyboardInterrupt:
        print("perdure: interrupted before anything was recorded", file=sys.stderr)
        return 1


def _main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="perdure",
        description="The open agent-computing stack: durable agents, the endpoint that serves them, "
        "and a twin of the hardware they run on.",
        epilog="`perdure COMMAND --help` explains one command.",
    )
    parser.add_argument("--version", action="version", version=f"perdure {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    typed = next((word for word in words if not word.startswith("-")), None)
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        if name == typed:
            module = import_module(f"perdure.cli.{name}")
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    arguments = parser.parse_args(words)
    return _run(arguments)


def _run(arguments: argparse.Namespace) -> int:
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        return int(arguments.run(arguments))
    except Interrupted as stop:
        print(stop.message, file=sys.stderr)
        return stop.exit_code
    except PerdureError as error:
        print(f"perdure {arguments.command}: {error.message}", file=sys.stderr)
        return error.exit_code
