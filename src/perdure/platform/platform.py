"""What a running server consists of, and in what order its parts start and stop."""

from collections.abc import Sequence

from perdure.clock import Clock
from perdure.config import Places
from perdure.engines.engine import Engine
from perdure.platform.generating import Generation, Line
from perdure.platform.idempotency import Answers
from perdure.platform.keys import Keys
from perdure.platform.metrics import Metrics
from perdure.platform.recorder import Recorder
from perdure.platform.scheduler import Scheduler
from perdure.platform.secret_file import read_or_make
from perdure.platform.store import Store
from perdure.scheduling.facts import Order
from perdure.scheduling.order import fcfs

WORKSPACE = "default"


class Platform:
    """The parts of one server. Use it as an async context manager: engines run inside it, and only there.

    Raises what an engine raises that cannot start, and StorageFailed when the tables cannot be used.
    """

    def __init__(
        self, *, engines: Sequence[Engine], places: Places, clock: Clock, order: Order = fcfs
    ) -> None:
        secrets_dir = places.data_dir / "secrets"
        self.clock = clock
        self.metrics = Metrics()
        self.store = Store(places.data_dir / "server.db")
        self.keys = Keys(store=self.store, pepper=read_or_make(secrets_dir / "pepper"), clock=clock)
        self.recorder = Recorder(traces_dir=places.traces_dir, secrets_dir=secrets_dir)
        self.lines: dict[str, Line] = {}
        self.generation = Generation(
            lines=self.lines, clock=clock, recorder=self.recorder, metrics=self.metrics
        )
        self.answers = Answers(
            store=self.store, generation=self.generation, metrics=self.metrics, clock=clock
        )
        self.draining = False
        self.active_requests = 0
        self.started_s = clock.now_s()
        self._engines = tuple(engines)
        self._order = order

    @property
    def ready(self) -> bool:
        """Whether a request sent now would be tried."""
        return not self.draining and bool(self.lines) and all(one.engine.ready for one in self.lines.values())

    async def __aenter__(self) -> "Platform":
        try:
            self.store.purge(self.clock.now_s())
            for engine in self._engines:
                await engine.start()
                scheduler = Scheduler(slots=engine.card.slots, clock=self.clock, order=self._order)
                self.lines[engine.card.id] = Line(engine=engine, scheduler=scheduler)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.answers.close()
        for engine in self._engines:
            await engine.close()
        self.store.close()
