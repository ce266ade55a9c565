"""A process that runs one durable session and is killed where the test says; started by test_kill.py.

    kill_child.py HOME BASE_URL WORLD RUN_ID TURNS HOW

HOW is `never`, `after:N` (SIGKILL right after the process's Nth commit), `before:N` (right before it),
`inside:N:begin` or `inside:N:end` (inside the Nth tool call of the process, before or after its effect).
The world outside is a folder of append-only files, one per tool, that this process's death does not touch.
"""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from perdure import Agent, Session, ToolContext
from perdure.clock import SystemClock
from perdure.config import read_places
from perdure.errors import NotFound
from perdure.journal.event import Event, NewEvent
from perdure.journal.store import Journal


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class MortalJournal(Journal):
    """A journal whose process is killed at one of its commits."""

    def __init__(self, path: Path, how: Sequence[str]) -> None:
        super().__init__(path, clock=SystemClock())
        self._when = how[0]
        self._left = int(how[1]) if len(how) > 1 else 0

    def append(self, stream: str, events: Sequence[NewEvent], **given: Any) -> list[Event]:
        self._left -= 1
        if self._when == "before" and self._left == 0:
            die()
        written = super().append(stream, events, **given)
        if self._when == "after" and self._left == 0:
            die()
        return written


class MortalWorld:
    """Does what the tools do, and dies before or after the effect where the test says so."""

    def __init__(self, how: Sequence[str]) -> None:
        self._tools = sys.modules["perdure_agent_tools"]
        self._act = self._tools.act
        self._how = how
        self._calls = 0
        self._tools.act = self.act

    def act(self, context: ToolContext, name: str) -> None:
        self._calls += 1
        here = self._how[0] == "inside" and int(self._how[1]) == self._calls
        if here and self._how[2] == "begin":
            die()
        self._act(context, name)
        if here and self._how[2] == "end":
            die()


def main() -> None:
    home, base_url, world, run_id, turns, how = sys.argv[1:]
    agent = Agent.load(
        Path(__file__).parent / "five", settings=[f"world={world}"], goal=f"Calls in all: {turns}"
    )
    MortalWorld(how.split(":"))
    places = read_places({"PERDURE_HOME": home})
    journal = MortalJournal(places.journal_file, how.split(":"))
    known: dict[str, Any] = {
        "base_url": base_url,
        "api_key": os.environ["WORLD_KEY"],
        "places": places,
        "journal": journal,
    }
    try:
        journal.stream(run_id)
    except NotFound:
        session = Session.start(agent, run_id=run_id, **known)
    else:
        session = Session.open(run_id, agent=agent, **known)
    print("begins", flush=True)
    print(session.run().status)


if __name__ == "__main__":
    main()
