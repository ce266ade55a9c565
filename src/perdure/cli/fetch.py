"""How a model that is missing is offered: what it weighs, under which licence, and how it arrives."""

import sys

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

from perdure.config import Places
from perdure.errors import BadRequest, NotFound
from perdure.models.weights import KNOWN, find, pull
from perdure.models.weights_store import ModelFile
from perdure.units import bytes_text

ANSWERS_MAX = 3


def model_here(name: str, places: Places, *, yes: bool, command: str) -> ModelFile:
    """The model `name`; fetched first where it is missing and its owner agrees.

    `yes` agrees beforehand. Without it a person is asked, and a script is told `command`, which agrees.
    """
    found = find(name, places)
    if found is not None:
        return found
    if name.startswith("file:"):
        raise NotFound(f"there is no file {name.removeprefix('file:')}; give the path of a GGUF file")
    offer = _offer(name)
    if not yes and not _agreed(offer):
        raise NotFound(
            f"{offer}. Fetch it with: perdure models pull {name}; or in one go with: {command} --yes"
        )
    with _Bar() as bar:
        return pull(name, places, progress=bar.update)


def _offer(name: str) -> str:
    if name.startswith("hf:"):
        return f"the model {name} is not on this machine; its size and licence are those of its repository"
    known = KNOWN.get(name)
    if known is None:
        raise BadRequest(
            f"no model is called {name!r}; choose {', '.join(KNOWN)}, file:PATH.gguf or hf:OWNER/REPO:FILE"
        )
    return (
        f"the model {name} is not on this machine; it has {bytes_text(known.size_bytes)} "
        f"and comes under {known.licence} ({known.licence_url})"
    )


def _agreed(offer: str) -> bool:
    """Ask a person; without a terminal nobody has agreed."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    print(f"{offer[0].upper()}{offer[1:]}.", file=sys.stderr)
    for _ in range(ANSWERS_MAX):
        print("Fetch it now? [Y/n] ", end="", file=sys.stderr, flush=True)
        answer = sys.stdin.readline()
        if answer.strip().lower() in ("", "y", "yes"):
            return answer != ""  # the end of input is no answer
        if answer.strip().lower() in ("n", "no"):
            return False
    return False


class _Bar:
    """A progress bar on standard error; where that is no terminal, one line for each stage."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task: TaskID | None = None
        self._what = ""

    def __enter__(self) -> "_Bar":
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def update(self, what: str, done_bytes: int, total_bytes: int | None) -> None:
        if what != self._what and not self._console.is_terminal:
            self._console.print(what)
        if self._task is None:
            self._task = self._progress.add_task(what, total=total_bytes)
        self._what = what
        self._progress.update(self._task, description=what, completed=done_bytes, total=total_bytes)
