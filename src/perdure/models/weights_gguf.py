"""What a GGUF file says of its model in its header, and whether the file is one and whole.

The format is described in the ggml project's docs/gguf.md; numbers are little-endian.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from perdure.errors import ModelFileBroken
from perdure.units import bytes_text

MAGIC = b"GGUF"
VERSIONS = (2, 3)
KEYS_MAX = 10_000
TENSORS_MAX = 1_000_000
DIMENSIONS_MAX = 8
TEXT_BYTES_MAX = 16 * 1024 * 1024
ARRAY_LENGTH_MAX = 10_000_000
ALIGNMENT_DEFAULT = 32

_STRING, _ARRAY = 8, 9
_TOKENS, _TOKEN_KINDS, _CONTROL = "tokenizer.ggml.tokens", "tokenizer.ggml.token_type", 3
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}

# Bytes and elements of one block of each tensor type (ggml's ggml.h and ggml-common.h); of a type that is
# not here we do not know the size, and do not check it.
_BLOCKS = {
    0: (4, 1), 1: (2, 1), 2: (18, 32), 3: (20, 32), 6: (22, 32), 7: (24, 32), 8: (34, 32), 9: (36, 32),
    10: (84, 256), 11: (110, 256), 12: (144, 256), 13: (176, 256), 14: (210, 256), 15: (292, 256), 30: (2, 1),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufHeader:
    """What the header says.

    context_tokens  the length the model was trained for, where it says so
    chat_template   whether the model brings one; a model without was not made for conversation
    control_tokens  the texts that its tokenizer reads as commands, such as the end of a turn
    """

    architecture: str
    context_tokens: int | None
    chat_template: bool
    control_tokens: tuple[str, ...]


def read_gguf(path: Path) -> GgufHeader:
    """The header of the GGUF file at `path`; raises ModelFileBroken when it is no such file, or cut off."""
    try:
        with path.open("rb") as file:
            return _header(file, path)
    except FileNotFoundError:
        raise ModelFileBroken(f"there is no model file {path}; `perdure models pull` fetches one") from None
    except IsADirectoryError:
        raise ModelFileBroken(f"{path} is a folder; give a GGUF file") from None
    except (struct.error, OverflowError):
        raise ModelFileBroken(f"{path} is cut off or damaged inside its header; fetch it again") from None


def _header(file: BinaryIO, path: Path) -> GgufHeader:
    if file.read(4) != MAGIC:
        raise ModelFileBroken(
            f"{path} is not a GGUF model (it does not begin with GGUF); give a file that is"
        )
    version, tensors, keys = _unpack(file, "<IQQ")
    if version not in VERSIONS or keys > KEYS_MAX or tensors > TENSORS_MAX:
        raise ModelFileBroken(
            f"{path} is GGUF version {version}, which we cannot read; convert it to version 3"
        )
    said = dict(_pairs(file, keys))
    _check_whole(file, path, tensors, said.get("general.alignment", ALIGNMENT_DEFAULT))
    architecture = said.get("general.architecture")
    if not isinstance(architecture, str):
        raise ModelFileBroken(f"{path} does not say which architecture its model has; fetch it again")
    context_tokens = said.get(f"{architecture}.context_length")
    return GgufHeader(
        architecture=architecture,
        context_tokens=context_tokens if isinstance(context_tokens, int) else None,
        chat_template=bool(said.get("tokenizer.chat_template")),
        control_tokens=_control_tokens(said),
    )


def _control_tokens(said: dict[str, Any]) -> tuple[str, ...]:
    tokens, kinds = said.get(_TOKENS), said.get(_TOKEN_KINDS)
    if tokens is None or kinds is None:
        return ()
    return tuple(token for token, kind in zip(tokens, kinds, strict=False) if kind == _CONTROL and token)


def _check_whole(file: BinaryIO, path: Path, tensors: int, alignment: Any) -> None:
    """Whether the file is long enough to hold every tensor that the header announces."""
    end_bytes = max((_tensor_end(file) for _ in range(tensors)), default=0)
    step = alignment if isinstance(alignment, int) and alignment > 0 else ALIGNMENT_DEFAULT
    needed_bytes = -(-file.tell() // step) * step + end_bytes
    size_bytes = path.stat().st_size
    if size_bytes < needed_bytes:
        missing = bytes_text(needed_bytes - size_bytes)
        raise ModelFileBroken(f"{path} is cut off: {missing} are missing at its end; fetch it again")


def _tensor_end(file: BinaryIO) -> int:
    """Where one tensor ends, counted from the start of the tensor part."""
    _text(file)
    (dimensions,) = _unpack(file, "<I")
    if dimensions > DIMENSIONS_MAX:
        raise struct.error("no tensor has that many dimensions")
    elements = 1
    for length in _unpack(file, f"<{dimensions}Q"):
        elements *= length
    kind, offset = _unpack(file, "<IQ")
    block_bytes, block_elements = _BLOCKS.get(kind, (0, 1))
    return offset + elements // block_elements * block_bytes


def _pairs(file: BinaryIO, count: int) -> Iterator[tuple[str, Any]]:
    for _ in range(count):
        key = _text(file)
        (kind,) = _unpack(file, "<I")
        yield key, _value(file, kind)


def _value(file: BinaryIO, kind: int) -> Any:
    if kind == _STRING:
        return _text(file)
    if kind == _ARRAY:
        element, length = _unpack(file, "<IQ")
        return _array(file, element, length)
    return _unpack(file, f"<{_scalar(kind)}")[0]


def _array(file: BinaryIO, element: int, length: int) -> list[str] | tuple[Any, ...]:
    if length > ARRAY_LENGTH_MAX:
        raise struct.error("no array is that long")
    if element == _STRING:
        return [_text(file) for _ in range(length)]
    return _unpack(file, f"<{length}{_scalar(element)}")


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


def _unpack(file: BinaryIO, layout: str) -> tuple[Any, ...]:
    return struct.unpack(layout, file.read(struct.calcsize(layout)))
