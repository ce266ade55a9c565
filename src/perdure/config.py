"""What the environment and the machine's folders say: the only module that reads `os.environ`.

Read once at the edge of a process, passed down as a frozen value.
"""

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from perdure.errors import BadRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where this user's files lie. `PERDURE_HOME` moves all three under one folder.

    cache_dir   what can be fetched again: model files
    data_dir    what must not be lost: journals, the server's tables, recorded traces, runs
    config_dir  what the user writes, and `client.json`, the 0600 file that holds the user's own key
    """

    cache_dir: Path
    data_dir: Path
    config_dir: Path

    @property
    def client_file(self) -> Path:
        """Address and key of the user's own server, readable by the owner alone."""
        return self.config_dir / "client.json"

    @property
    def journal_file(self) -> Path:
        """The journal of this user's agent sessions."""
        return self.data_dir / "journal.db"

    @property
    def runs_dir(self) -> Path:
        """One folder per run: its workspace, its lock, its log."""
        return self.data_dir / "runs"

    @property
    def traces_dir(self) -> Path:
        """What the recorder noted of each model call: lengths and salted hashes, no text."""
        return self.data_dir / "traces"

    @property
    def compiled_dir(self) -> Path:
        """What numba compiled, one folder for each state of the sources."""
        return self.cache_dir / "compiled"

    @property
    def tables_dir(self) -> Path:
        """Sampled tables of the cost model, by what they were sampled from."""
        return self.cache_dir / "tables"

    @property
    def models_dir(self) -> Path:
        """Model files, each checked by its hash."""
        return self.cache_dir / "models"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientEnvironment:
    """How the user's environment points clients at a server; each is None where unset."""

    base_url: str | None
    api_key: str | None


def read_places(environ: Mapping[str, str] = os.environ) -> Places:
    """The folders that `environ` names: `PERDURE_HOME`, else the XDG folders, else those under `HOME`."""
    home = environ.get("PERDURE_HOME")
    if home:
        root = _absolute(home, "PERDURE_HOME")
        return Places(cache_dir=root / "cache", data_dir=root / "data", config_dir=root / "config")
    user = _absolute(environ.get("HOME") or str(Path.home()), "HOME")
    return Places(
        cache_dir=Path(environ.get("XDG_CACHE_HOME") or user / ".cache") / "perdure",
        data_dir=Path(environ.get("XDG_DATA_HOME") or user / ".local" / "share") / "perdure",
        config_dir=Path(environ.get("XDG_CONFIG_HOME") or user / ".config") / "perdure",
    )


def writable_folder(folder: Path) -> Path:
    """`folder`, made if it is missing; where nothing can be written there, one of this user's that can be."""
    try:
        private_folder(folder)
        if os.access(folder, os.W_OK | os.X_OK):
            return folder
    except OSError:
        pass
    elsewhere = Path(tempfile.gettempdir()) / f"perdure-{os.getuid()}" / folder.name
    private_folder(elsewhere)
    if elsewhere.stat().st_uid != os.getuid():
        raise BadRequest(f"{elsewhere} belongs to somebody else; set PERDURE_HOME to a folder of yours")
    return elsewhere


def private_folder(folder: Path) -> None:
    """Make `folder`, and those above it that are missing, readable by their owner alone."""
    for missing in [one for one in (folder, *folder.parents) if not one.exists()][::-1]:
        missing.mkdir(mode=0o700, exist_ok=True)


def read_client_environment(environ: Mapping[str, str] = os.environ) -> ClientEnvironment:
    """`PERDURE_BASE_URL` and `PERDURE_API_KEY`, as the user set them."""
    return ClientEnvironment(
        base_url=environ.get("PERDURE_BASE_URL") or None, api_key=environ.get("PERDURE_API_KEY") or None
    )


def read_twin_debug(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether `PERDURE_TWIN_DEBUG=1` asks the twin to check itself after every event. It is slow."""
    asked = environ.get("PERDURE_TWIN_DEBUG", "0")
    if asked not in ("0", "1"):
        raise BadRequest(f"PERDURE_TWIN_DEBUG is {asked!r}; set it to 0 or 1, or unset it")
    return asked == "1"


def child_environment(extra: Mapping[str, str], environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment of a process that we start: ours, with `extra` laid over it."""
    return {**environ, **extra}


def executable(name: str, environ: Mapping[str, str] = os.environ) -> Path | None:
    """The program called `name` on the user's PATH, or None."""
    for folder in environ.get("PATH", "").split(os.pathsep):
        candidate = Path(folder or ".") / name
        if candidate.is_file() and os.access(candidate, os.X_OK):
            return candidate
    return None


def _absolute(path: str, name: str) -> Path:
    expanded = Path(path).expanduser()
    if not expanded.is_absolute():
        raise BadRequest(f"{name} is {path!r}; give an absolute path, or unset it")
    return expanded
