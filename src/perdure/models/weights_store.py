"""Where model files lie on this machine, and what is on record about each."""

import fcntl
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from perdure.config import Places
from perdure.errors import ModelFileBroken
from perdure.units import bytes_text

STEM_CHARS_MAX = 100
HASH_CHUNK_BYTES = 4 * 1024 * 1024

_FETCHING = ".fetching-"

Progress = Callable[[str, int, int | None], None]
"""Told what is being done, how many bytes of it are done, and how many there are where that is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """A model file that is on this machine, as it was when it was added.

    name    what `perdure models pull` fetches it by
    sha256  None of a `file:` that was never added
    """

    name: str
    path: Path
    size_bytes: int
    sha256: str | None
    licence: str


class _Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A ModelFile on disk; `file` is relative to the models folder, so that the folder can be moved."""

    name: str
    file: str
    size_bytes: int
    sha256: str | None
    licence: str


class _GoodCheck(msgspec.Struct, frozen=True, kw_only=True):
    """What a file looked like from outside when it last had its hash."""

    sha256: str
    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    inode: int


def silent(what: str, done_bytes: int, total_bytes: int | None) -> None:
    """The progress that nobody watches."""


def record_of(name: str, places: Places) -> ModelFile | None:
    """What is on record of the model `name`, whether or not its file is still there."""
    return _read(places.models_dir / f"{file_stem(name)}.json", places)


def records(places: Places) -> list[ModelFile]:
    """All that is on record, by name."""
    found = (_read(path, places) for path in places.models_dir.glob("*.json"))
    return sorted((model for model in found if model is not None), key=lambda model: model.name)


def keep_record(model: ModelFile, places: Places) -> None:
    """Put `model` on record, whole or not at all."""
    record = _Record(
        name=model.name,
        file=model.path.name if is_ours(model, places) else str(model.path),
        size_bytes=model.size_bytes,
        sha256=model.sha256,
        licence=model.licence,
    )
    final = places.models_dir / f"{file_stem(model.name)}.json"
    draft = final.with_suffix(".draft")
    draft.write_bytes(msgspec.json.format(msgspec.json.encode(record)))
    draft.replace(final)


def forget(model: ModelFile, places: Places) -> None:
    """Take `model` off the record, and delete its file if it is ours."""
    (places.models_dir / f"{file_stem(model.name)}.json").unlink(missing_ok=True)
    _check_path(model, places).unlink(missing_ok=True)
    if is_ours(model, places):
        model.path.unlink(missing_ok=True)


def is_ours(model: ModelFile, places: Places) -> bool:
    """Whether the file lies in our cache; a `file:` model is used where its owner put it."""
    return model.path.parent == places.models_dir


def file_stem(name: str) -> str:
    """The name of the files that belong to a model, without their ending: safe, and its own."""
    safe = re.sub(r"[^A-Za-z0-9._-]+", "--", name)
    if safe == name:
        return name
    return f"{safe[-STEM_CHARS_MAX:]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


@contextmanager
def adding(places: Places, progress: Progress) -> Generator[Path, None, None]:
    """An empty folder to fetch a model into, gone afterwards; one process at a time is inside, others wait.

    It lies beside the finished files, so that a finished one can be moved without a copy. What a killed
    process left behind is swept out first.
    """
    places.models_dir.mkdir(parents=True, exist_ok=True)
    with _only_one(places.models_dir, progress):
        for left_behind in places.models_dir.glob(f"{_FETCHING}*"):
            shutil.rmtree(left_behind, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix=_FETCHING, dir=places.models_dir))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def sha256_of(path: Path, progress: Progress) -> str:
    """The SHA-256 of the file at `path`, in hex."""
    total_bytes = path.stat().st_size
    digest = hashlib.sha256()
    done_bytes = 0
    with path.open("rb") as file:
        while chunk := file.read(HASH_CHUNK_BYTES):
            digest.update(chunk)
            done_bytes += len(chunk)
            progress("checking", done_bytes, total_bytes)
    return digest.hexdigest()


def check_file(path: Path, *, size_bytes: int, sha256: str, remedy: str, progress: Progress) -> None:
    """Raise ModelFileBroken unless the file at `path` has that size and that hash."""
    if not path.is_file():
        raise ModelFileBroken(f"{path} is missing. {remedy}")
    found_bytes = path.stat().st_size
    if found_bytes != size_bytes:
        raise ModelFileBroken(
            f"{path} has {found_bytes} bytes ({bytes_text(found_bytes)}) and must have {size_bytes}. {remedy}"
        )
    found = sha256_of(path, progress)
    if found != sha256:
        raise ModelFileBroken(f"{path} has SHA-256 {found} and must have {sha256}. {remedy}")


def seen_good(model: ModelFile, places: Places) -> bool:
    """Whether the file looks from outside just as it did when it last had its hash."""
    try:
        remembered = msgspec.json.decode(_check_path(model, places).read_bytes(), type=_GoodCheck)
        return remembered == _look(model)
    except (OSError, msgspec.DecodeError):
        return False


@contextmanager
def remembering_good(model: ModelFile, places: Places) -> Generator[None, None, None]:
    """Remember how the file looked before the block, if the block finds nothing wrong with it.

    Where that cannot be written, the file is hashed again next time.
    """
    path = _check_path(model, places)
    with suppress(OSError):
        path.unlink(missing_ok=True)
    before = _look(model) if model.path.is_file() else None
    yield
    if before is not None:
        with suppress(OSError):
            path.write_bytes(msgspec.json.encode(before))


def _look(model: ModelFile) -> _GoodCheck:
    assert model.sha256 is not None, "what is on record has its hash"
    stat = model.path.stat()
    return _GoodCheck(
        sha256=model.sha256,
        size_bytes=stat.st_size,
        mtime_ns=stat.st_mtime_ns,
        ctime_ns=stat.st_ctime_ns,
        inode=stat.st_ino,
    )


def _check_path(model: ModelFile, places: Places) -> Path:
    return places.models_dir / f"{file_stem(model.name)}.checked"


@contextmanager
def _only_one(folder: Path, progress: Progress) -> Generator[None, None, None]:
    """Hold the lock on `folder`, which ends with the process whatever happens to it."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("waiting for another process that fetches a model", 0, None)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _read(path: Path, places: Places) -> ModelFile | None:
    try:
        record = msgspec.json.decode(path.read_bytes(), type=_Record)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise ModelFileBroken(f"{path} is damaged ({error}); delete it, and pull the model again") from error
    return ModelFile(
        name=record.name,
        path=places.models_dir / record.file,
        size_bytes=record.size_bytes,
        sha256=record.sha256,
        licence=record.licence,
    )
