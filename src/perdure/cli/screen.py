"""How a run looks in a terminal: its timeline, its progress, its last words."""

import sys
from typing import Any, TextIO

import orjson
from rich.console import Console
from rich.text import Text

from perdure.agents.session import Outcome
from perdure.agents.state import SessionState
from perdure.agents.timeline import Line, timeline
from perdure.journal.event import Event
from perdure.units import seconds_text

VALUE_CHARS_MAX = 120

_STYLES = {"plain": "dim", "model": "cyan", "tool": "default", "warning": "yellow", "end": "bold"}


def print_json(value: Any) -> None:
    """One JSON object on standard output, nothing else."""
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() + "\n")


def console(stream: TextIO) -> Console:
    """A console on `stream`: colours and width of a terminal, plain wide lines elsewhere.

    Brackets in what it prints are text, not markup: models and servers write what they like.
    """
    return Console(file=stream, highlight=False, markup=False, width=None if stream.isatty() else 160)


def print_line(line: Line, to: Console) -> None:
    """One line of a timeline."""
    text = Text(f"{line.at_s:8.1f}s  ", style="dim")
    text.append(f"{line.what:<10} ", style=_STYLES[line.mood])
    text.append(line.detail, style="" if line.mood in ("tool", "end") else "dim")
    to.print(text, soft_wrap=not to.is_terminal, overflow="ellipsis", no_wrap=True)


class Progress:
    """Prints each event of a run to standard error as it is journaled."""

    def __init__(self) -> None:
        self._console = console(sys.stderr)
        self._started_s: float | None = None

    def __call__(self, event: Event, state: SessionState) -> None:
        """Print what a person wants to know of `event`."""
        if self._started_s is None:
            self._started_s = event.at_s - state.wall_s
        for line in timeline([event]):
            shown = Line(
                seq=line.seq,
                at_s=event.at_s - self._started_s,
                what=line.what,
                detail=line.detail,
                mood=line.mood,
            )
            print_line(shown, self._console)


def _shown(value: Any) -> str:
    """A value of a result, short: what is nested in it is for `--json`."""
    if isinstance(value, float):
        return f"{value:.4g}"
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return text if len(text) <= VALUE_CHARS_MAX else f"{text[:VALUE_CHARS_MAX]}… (whole with --json)"


def print_outcome(outcome: Outcome, to: Console, *, with_result: bool = True) -> None:
    """The figures of a run, and its result."""
    share = outcome.cached_tokens / outcome.prompt_tokens if outcome.prompt_tokens else 0.0
    to.print(f"{outcome.run_id}: {outcome.status}" + (f", {outcome.because}" if outcome.because else ""))
    to.print(
        f"  {outcome.model_calls} model calls, {outcome.tool_calls} tool calls, {outcome.resumes} resumes, "
        f"{seconds_text(outcome.wall_s)} of work"
    )
    to.print(
        f"  {outcome.prompt_tokens:,} prompt tokens ({share:.0%} from cache), "
        f"{outcome.output_tokens:,} output tokens"
    )
    for name, value in (outcome.result or {}).items() if with_result else ():
        to.print(f"  {name}: {_shown(value)}", soft_wrap=True)
    if outcome.unknown_effects:
        to.print(
            f"  {outcome.unknown_effects} calls were cut off by a crash; whether they took effect is unknown"
        )
