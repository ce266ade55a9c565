"""What a GGUF file says of its model in its first kilobytes, and whether it is one at all.

The format is described in the ggml project's docs/gguf.md; numbers are little-endian.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from perdure.errors import ModelFileBroken

MAGIC = b"GGUF"
VERSIONS = (2, 3)
KEYS_MAX = 10_000
TEXT_BYTES_MAX = 16 * 1024 * 1024
ARRAY_LENGTH_MAX = 10_000_000

_STRING, _ARRAY = 8, 9
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}

Value = int | float | bool | str | None
"""A metadata value; arrays are skipped and stand as None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufHeader:
    """What the header says. `context_tokens` is the length the model was trained for, where it says so."""

    architecture: str
    context_tokens: int | None


def read_gguf(path: Path) -> GgufHeader:
    """The header of the GGUF file at `path`; raises ModelFileBroken when it is no such file."""
    try:
        with path.open("rb") as file:
            return _header(file, path)
    except FileNotFoundError:
        raise ModelFileBroken(f"there is no model file {path}; `perdure models pull` fetches one") from None
    except (struct.error, UnicodeDecodeError, OverflowError):
        raise ModelFileBroken(f"{path} is cut off or damaged inside its header; fetch it again") from None


def _header(file: BinaryIO, path: Path) -> GgufHeader:
    if file.read(4) != MAGIC:
        raise ModelFileBroken(
            f"{path} is not a GGUF model file (it does not begin with GGUF); give one that is"
        )
    version, _tensors, keys = _unpack(file, "<IQQ")
    if version not in VERSIONS or keys > KEYS_MAX:
        raise ModelFileBroken(
            f"{path} is GGUF version {version}, which we cannot read; convert it to version 3"
        )
    architecture: str | None = None
    for key, value in _pairs(file, keys):
        if key == "general.architecture":
            architecture = str(value)
        elif architecture is not None and key == f"{architecture}.context_length" and isinstance(value, int):
            return GgufHeader(architecture=architecture, context_tokens=value)
    if architecture is None:
        raise ModelFileBroken(f"{path} does not say which architecture its model has; fetch it again")
    return GgufHeader(architecture=architecture, context_tokens=None)


def _pairs(file: BinaryIO, count: int) -> Iterator[tuple[str, Value]]:
    for _ in range(count):
        key = _text(file)
        (kind,) = _unpack(file, "<I")
        yield key, _value(file, kind)


def _value(file: BinaryIO, kind: int) -> Value:
    if kind == _STRING:
        return _text(file)
    if kind == _ARRAY:
        element, length = _unpack(file, "<IQ")
        _skip_array(file, element, length)
        return None
    return _unpack(file, f"<{_scalar(kind)}")[0]


def _skip_array(file: BinaryIO, element: int, length: int) -> None:
    if length > ARRAY_LENGTH_MAX:
        raise struct.error("no array is that long")
    if element == _STRING:
        for _ in range(length):
            _text(file)
    else:
        file.seek(length * struct.calcsize(f"<{_scalar(element)}"), 1)


def _scalar(kind: int) -> str:
    if kind not in _SCALARS:
        raise struct.error(f"no value has kind {kind}")
    return _SCALARS[kind]


def _text(file: BinaryIO) -> str:
    (length,) = _unpack(file, "<Q")
    if length > TEXT_BYTES_MAX:
        raise struct.error("no text is that long")
    raw = file.read(length)
    if len(raw) < length:
        raise struct.error("the file ends inside a text")
    return raw.decode("utf-8", errors="replace")


def _unpack(file: BinaryIO, layout: str) -> tuple[int, ...]:
    return struct.unpack(layout, file.read(struct.calcsize(layout)))
