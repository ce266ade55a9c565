"""A GGUF file of a few hundred bytes, for tests that need one that is well-formed and no model."""

import struct
from typing import Any


def gguf(
    *,
    architecture: str | None = "llama",
    context_tokens: int | None = 512,
    chat_template: str | None = "{{ messages }}",
    elements: int = 64,
) -> bytes:
    """One tensor of `elements` float32 zeros, and the metadata that we read."""
    pairs: list[tuple[str, Any]] = [
        ("tokenizer.ggml.tokens", ["<|end|>", "a", "b"]),
        ("tokenizer.ggml.token_type", [3, 1, 1]),
        ("general.alignment", 32),
    ]
    if architecture is not None:
        pairs.append(("general.architecture", architecture))
    if context_tokens is not None:
        pairs.append((f"{architecture}.context_length", context_tokens))
    if chat_template is not None:
        pairs.append(("tokenizer.chat_template", chat_template))
    header = b"GGUF" + struct.pack("<IQQ", 3, 1, len(pairs))
    header += b"".join(_text(key) + _value(value) for key, value in pairs)
    header += _text("t") + struct.pack("<IQIQ", 1, elements, 0, 0)
    return header + b"\0" * (-len(header) % 32) + b"\0" * (4 * elements)


def _value(value: Any) -> bytes:
    if isinstance(value, list) and isinstance(value[0], int):
        return struct.pack("<IIQ3i", 9, 5, 3, *value)
    if isinstance(value, list):
        return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(_text, value))
    if isinstance(value, str):
        return struct.pack("<I", 8) + _text(value)
    return struct.pack("<II", 4, value)


def _text(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw
