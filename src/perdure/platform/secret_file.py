"""How files and folders are made that only their owner can read, and the secrets kept in them."""

import os
from contextlib import suppress
from pathlib import Path

from perdure.errors import StorageFailed
from perdure.rng import new_id, new_secret


def read_or_make(path: Path) -> str:
    """The secret in `path`, made on first use. Two processes that make it at once get the same one."""
    try:
        return path.read_text(encoding="ascii")
    except FileNotFoundError:
        pass
    except OSError as error:
        raise StorageFailed(f"cannot read {path}: {error.strerror}. Give it back to its owner") from error
    private_folder(path.parent)
    fresh = path.with_name(f".{path.name}.{new_id('new')}")
    try:
        write_private(fresh, new_secret())
        with suppress(FileExistsError):
            os.link(fresh, path)
    except OSError as error:
        raise StorageFailed(
            f"cannot write {path}: {error.strerror}. Make room, or set PERDURE_HOME"
        ) from error
    finally:
        fresh.unlink(missing_ok=True)
    return path.read_text(encoding="ascii")


def replace_private(path: Path, text: str) -> None:
    """Put `text` in the place of what `path` held, at once or not at all, readable by the owner alone."""
    private_folder(path.parent)
    fresh = path.with_name(f".{path.name}.{new_id('new')}")
    try:
        write_private(fresh, text)
        fresh.replace(path)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise StorageFailed(f"cannot write {path}: {error.strerror}") from error


def private_folder(path: Path) -> None:
    """Make the folder, and what is missing above it, for the owner alone."""
    try:
        for folder in reversed((path, *path.parents)):
            if not folder.is_dir():
                folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise StorageFailed(
            f"cannot make the folder {path}: {error.strerror}. Set PERDURE_HOME to one that can be written"
        ) from error


def write_private(path: Path, text: str) -> None:
    """Write a new file of mode 0600, whatever the umask."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
