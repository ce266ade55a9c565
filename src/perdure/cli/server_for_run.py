"""Which server a run talks to: the one that was named, the user's own, or one started for the run alone."""

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from os import getpid
from pathlib import Path

from perdure.agents.session import find_server
from perdure.cli.models import obtain
from perdure.cli.serve import is_scripted
from perdure.clock import Clock
from perdure.config import ClientEnvironment, Places, child_environment, private_folder
from perdure.errors import NotAllowed, Unavailable, UnknownModel
from perdure.rng import new_id

ANSWER_S_MAX = 3.0
START_S_MAX = 120.0
STOP_S_MAX = 20.0
POLL_S = 0.05


@contextmanager
def server_for(
    *, model: str, base_url: str | None, api_key: str | None, places: Places, clock: Clock, yes: bool
) -> Generator[ClientEnvironment]:
    """The address of a server that has `model`, for the length of the `with` block.

    `base_url`, where given, must answer. Else the server that the environment or the client file names is
    used when it answers; when nothing does, one is started on a free loopback port and stopped at the end.
    """
    if base_url is not None:
        address = ClientEnvironment(base_url=base_url, api_key=api_key or _key_of(places))
        models = _models(address)
        if models is None:
            raise Unavailable(
                f"nothing answers at {base_url}. Start a server (perdure serve), or leave --base-url out"
            )
        _check_model(model, models, base_url)
        yield address
        return
    known = find_server(places)
    models = None if known is None else _models(known)
    if known is not None and models is not None:
        _check_model(model, models, known.base_url or "")
        yield known
        return
    with own_server(model=model, places=places, clock=clock, yes=yes) as address:
        yield address


@contextmanager
def own_server(*, model: str, places: Places, clock: Clock, yes: bool) -> Generator[ClientEnvironment]:
    """A server that lives as long as the block, and dies with this process even by SIGKILL."""
    if not is_scripted(model):
        obtain(model, places, yes=yes)  # asks here: the server has no terminal
    private_folder(places.runs_dir)
    name = new_id("server")
    announce = places.runs_dir / f"{name}.json"
    log = places.runs_dir / f"{name}.log"
    words = [sys.executable, "-m", "perdure", "serve", "--model", model, "--port", "0", "--quiet"]
    words += ["--announce", str(announce), "--parent-pid", str(getpid()), *(["--yes"] if yes else [])]
    print(f"no server answers; starting one for this run with {model}", file=sys.stderr)
    with log.open("wb") as written:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=written,
            env=child_environment({}),
            start_new_session=True,  # Ctrl-C is for us; we stop the server once the run has stopped
        )
        try:
            yield _announced(process, announce, log, clock)
        finally:
            process.terminate()
            try:
                process.wait(timeout=STOP_S_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            announce.unlink(missing_ok=True)
            log.unlink(missing_ok=True)


def _announced(
    process: subprocess.Popen[bytes], announce: Path, log: Path, clock: Clock
) -> ClientEnvironment:
    """Address and key of the server once it answers."""
    deadline_s = clock.monotonic_s() + START_S_MAX
    while not announce.is_file():
        if process.poll() is not None or clock.monotonic_s() > deadline_s:
            tail = log.read_text(encoding="utf-8", errors="replace").strip()[-800:]
            raise Unavailable(f"the server for this run did not start: {tail or 'it said nothing'}")
        try:
            process.wait(timeout=POLL_S)
        except subprocess.TimeoutExpired:
            continue
    said = json.loads(announce.read_text(encoding="utf-8"))
    return ClientEnvironment(base_url=str(said["base_url"]), api_key=str(said["api_key"]))


def _models(address: ClientEnvironment) -> list[str] | None:
    """The models that the server at `address` has, or None when nothing answers there."""
    request = urllib.request.Request(f"{(address.base_url or '').rstrip('/')}/models")
    if address.api_key:
        request.add_header("authorization", f"Bearer {address.api_key}")
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_S_MAX) as answer:
            return [str(model["id"]) for model in json.load(answer)["data"]]
    except urllib.error.HTTPError as refused:
        if refused.code in (401, 403):
            raise NotAllowed(
                f"{address.base_url} refused the key; set PERDURE_API_KEY or pass --api-key"
            ) from refused
        return None
    except (OSError, ValueError, KeyError):
        return None


def _check_model(model: str, models: list[str], base_url: str) -> None:
    if model not in models:
        raise UnknownModel(
            f"the server at {base_url} has no model {model!r}; it has {', '.join(models)}. "
            f"Choose one with --model, or stop that server and one will be started for this run"
        )


def _key_of(places: Places) -> str | None:
    known = find_server(places)
    return None if known is None else known.api_key
