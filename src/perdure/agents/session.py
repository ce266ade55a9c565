"""How a run is started, found again and brought to its end: the public handle of a durable session."""

import asyncio
import fcntl
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import msgspec

from perdure.agents.agent import Agent, AgentSpec
from perdure.agents.client import ModelClient
from perdure.agents.loop import Loop, load
from perdure.agents.state import SessionState, Status
from perdure.clock import Clock, SystemClock
from perdure.config import (
    ClientEnvironment,
    Places,
    private_folder,
    read_client_environment,
    read_places,
)
from perdure.errors import BadRequest, Conflict, Interrupted, NotAllowed, SandboxUnavailable, StorageFailed
from perdure.journal.event import Event, NewEvent
from perdure.journal.store import Journal
from perdure.platform.client_file import read_client_file
from perdure.rng import new_id

STREAM_KIND = "session"

Watch = Callable[[Event, SessionState], None]
"""Told of each event once it is in the journal: for progress on a screen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run has come to. Tokens are the engine's counts; `wall_s` leaves out time between processes."""

    run_id: str
    status: Status
    turns: int
    model_calls: int
    tool_calls: int
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    wall_s: float
    resumes: int
    unknown_effects: int
    because: str | None
    result: dict[str, Any] | None

    def as_json(self) -> dict[str, Any]:
        """The fields, as `perdure run --json` prints them."""
        return asdict(self)


class Session:
    """One durable run of an agent.

        session = Session.start(agent)
        outcome = session.run()                          # again after a crash: Session.open(run_id).run()

    The model is reached at `base_url` (ending in `/v1`) with `api_key`; where they are not given, at what
    PERDURE_BASE_URL and PERDURE_API_KEY say, else at the user's own server (`perdure serve`).
    """

    def __init__(
        self,
        *,
        run_id: str,
        agent: Agent,
        journal: Journal,
        places: Places,
        clock: Clock,
        base_url: str | None = None,
        api_key: str | None = None,
        watch: Watch | None = None,
    ) -> None:
        self.run_id = run_id
        self.agent = agent
        self._journal = journal
        self._places = places
        self._clock = clock
        self._base_url = base_url
        self._api_key = api_key
        self._watch: Watch = watch or (lambda event, state: None)

    @classmethod
    def start(
        cls,
        agent: Agent,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        places: Places | None = None,
        clock: Clock | None = None,
        journal: Journal | None = None,
        watch: Watch | None = None,
        run_id: str | None = None,
        program: str | None = None,
    ) -> "Session":
        """Record a new run of `agent`; `run` begins it. `program` names the job it is part of."""
        places = places or read_places()
        clock = clock or SystemClock()
        journal = journal or Journal(places.journal_file, clock=clock)
        run_id = run_id or new_id("run")
        body = {"spec": msgspec.to_builtins(agent.spec), "program": program or run_id}
        journal.create(run_id, STREAM_KIND, [NewEvent(kind="run_started", body=body)])
        return cls(
            run_id=run_id,
            agent=agent,
            journal=journal,
            places=places,
            clock=clock,
            base_url=base_url,
            api_key=api_key,
            watch=watch,
        )

    @classmethod
    def open(
        cls,
        run_id: str,
        *,
        agent: Agent | None = None,
        base_url: str | None = None,
        api_key: str | None = None,
        places: Places | None = None,
        clock: Clock | None = None,
        journal: Journal | None = None,
        watch: Watch | None = None,
    ) -> "Session":
        """A run that was recorded before. Give `agent` when it was defined in Python, not in a file."""
        places = places or read_places()
        clock = clock or SystemClock()
        journal = journal or Journal(places.journal_file, clock=clock)
        journal.stream(run_id)
        agent = agent or _agent_of(run_id, load(journal, run_id))
        return cls(
            run_id=run_id,
            agent=agent,
            journal=journal,
            places=places,
            clock=clock,
            base_url=base_url,
            api_key=api_key,
            watch=watch,
        )

    @property
    def workspace(self) -> Path:
        """The run's own folder, the only one that its programs may write."""
        return self._places.runs_dir / self.run_id / "workspace"

    def outcome(self) -> Outcome:
        """What the run has come to so far, read from the journal."""
        return outcome(self.run_id, load(self._journal, self.run_id))

    def run(self) -> Outcome:
        """Go on to the end, in this thread. See `arun`."""
        return asyncio.run(self.arun())

    async def arun(self) -> Outcome:
        """Go on to the end. A run that has ended is returned as it is.

        Raises Interrupted, saying how to go on, when the model or the disk refuses for longer than retries
        last; nothing is lost then. Raises Conflict when another process works on this run.
        """
        private_folder(self.workspace)
        address = self._address()
        lock = _only_one(self.workspace.parent / "lock", self.run_id)
        loop: Loop | None = None
        try:
            async with ModelClient(base_url=address.base_url or "", api_key=address.api_key) as client:
                loop = Loop(
                    run_id=self.run_id,
                    agent=self.agent,
                    journal=self._journal,
                    client=client,
                    workspace=self.workspace,
                    clock=self._clock,
                    watch=self._watch,
                )
                try:
                    if loop.state.status == "running" and loop.state.seq > 1:
                        loop.resume()
                    await loop.run()
                except (Interrupted, NotAllowed, SandboxUnavailable, StorageFailed) as stopped:
                    raise Interrupted(f"{stopped.message}. {self.how_to_go_on()}") from stopped
                return outcome(self.run_id, loop.state)
        finally:
            _release(lock, None if loop is None else loop.tool_thread)

    def how_to_go_on(self) -> str:
        """The sentence that an interruption of this run ends with."""
        if self.agent.spec.source is None:
            return f"Nothing is lost. Go on with: Session.open({self.run_id!r}, agent=agent).run()"
        return how_to_go_on(self.run_id)

    def _address(self) -> ClientEnvironment:
        if self._base_url is not None:
            return ClientEnvironment(base_url=self._base_url, api_key=self._api_key)
        address = find_server(self._places)
        if address is None:
            raise BadRequest("no server is known: give base_url, or start one: perdure serve")
        return address


def how_to_go_on(run_id: str) -> str:
    """The sentence that every interruption ends with."""
    return f"Nothing is lost. Go on with: perdure resume {run_id}"


def find_server(places: Places) -> ClientEnvironment | None:
    """The server that the environment names, else the user's own, else None."""
    environment = read_client_environment()
    if environment.base_url is not None:
        return environment
    client = read_client_file(places.client_file)
    return None if client is None else ClientEnvironment(base_url=client.base_url, api_key=client.api_key)


def outcome(run_id: str, state: SessionState) -> Outcome:
    """The figures of a state."""
    return Outcome(
        run_id=run_id,
        status=state.status,
        turns=state.turns_total,
        model_calls=state.model_calls,
        tool_calls=state.tool_calls,
        prompt_tokens=state.prompt_tokens,
        cached_tokens=state.cached_tokens,
        output_tokens=state.output_tokens,
        wall_s=round(state.wall_s, 3),
        resumes=state.resumes,
        unknown_effects=state.unknown_effects,
        because=state.ended_because,
        result=state.result,
    )


def _agent_of(run_id: str, state: SessionState) -> Agent:
    """The agent of a recorded run: its words as they were recorded, its functions from where they lie now."""
    spec = msgspec.convert(state.spec, AgentSpec)
    if spec.source is None:
        raise BadRequest(
            f"{run_id} runs an agent that was defined in Python; go on from Python: "
            f"Session.open({run_id!r}, agent=...).run()"
        )
    now = Agent.load(Path(spec.source))
    changed = now.spec.source_sha256 != spec.source_sha256
    return Agent(spec=spec, tools=now.tools, choose=now.choose, folder=now.folder, changed=changed)


def _only_one(lock: Path, run_id: str) -> IO[str]:
    """Hold the run until the file is closed; the kernel closes it when this process ends, however it ends."""
    held = lock.open("w", encoding="ascii")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as taken:
        held.close()
        raise Conflict(
            f"another process is working on {run_id}; watch it with: perdure show {run_id}"
        ) from taken
    return held


def _release(lock: IO[str], tool_thread: threading.Thread | None) -> None:
    """Let go of the run, once the tool that a stopped loop left running has returned: it may still act."""

    def close() -> None:
        if tool_thread is not None:
            tool_thread.join()
        lock.close()

    if tool_thread is None or not tool_thread.is_alive():
        lock.close()
    else:
        threading.Thread(target=close, daemon=True, name="release").start()
