"""Laws of reading model files: the header is read as written, and no damaged file passes."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tiny_gguf import gguf

from perdure.errors import ModelFileBroken
from perdure.models.weights_gguf import read_gguf


@given(
    context_tokens=st.one_of(st.none(), st.integers(1, 2**31)),
    template=st.one_of(st.none(), st.just("{{ x }}")),
)
def test_the_header_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, context_tokens: int | None, template: str | None
) -> None:
    """Architecture, trained context and chat template come out as they went in."""
    path = tmp_path_factory.mktemp("gguf") / "model.gguf"
    path.write_bytes(gguf(context_tokens=context_tokens, chat_template=template))
    header = read_gguf(path)
    assert header.architecture == "llama"
    assert header.context_tokens == context_tokens
    assert header.chat_template is (template is not None)
    assert header.control_tokens == ("<|end|>",)


def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    """No proper beginning of a GGUF file passes for a GGUF file."""
    whole = gguf()
    path = tmp_path / "model.gguf"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelFileBroken, match=r"GGUF|fetch it again"):
            read_gguf(path)
    path.write_bytes(whole)
    assert read_gguf(path).context_tokens == 512


@settings(max_examples=300)
@given(at=st.integers(4, 280), byte=st.integers(0, 255))
def test_a_damaged_header_never_raises_anything_else(
    tmp_path_factory: pytest.TempPathFactory, at: int, byte: int
) -> None:
    """Whatever byte is wrong, reading ends with a header or with ModelFileBroken."""
    damaged = bytearray(gguf())
    damaged[at] = byte
    path = tmp_path_factory.getbasetemp() / "damaged.gguf"
    path.write_bytes(damaged)
    with contextlib.suppress(ModelFileBroken):
        read_gguf(path)


@pytest.mark.parametrize("content", [b"", b"GG", b"PK\x03\x04 a zip", b"GGUF\x63\0\0\0" + b"\0" * 16])
def test_what_is_no_gguf_file_is_named_as_such(tmp_path: Path, content: bytes) -> None:
    """The message names the file and says what to do."""
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    with pytest.raises(ModelFileBroken, match=r"model\.gguf.*(give a file|fetch|convert)"):
        read_gguf(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    """A path where no file is gives an error that says how to get one."""
    with pytest.raises(ModelFileBroken, match="perdure models pull"):
        read_gguf(tmp_path / "none.gguf")
    with pytest.raises(ModelFileBroken, match="folder"):
        read_gguf(tmp_path)


def test_a_file_without_architecture_is_refused(tmp_path: Path) -> None:
    """A model that does not say what it is cannot be run."""
    path = tmp_path / "model.gguf"
    path.write_bytes(gguf(architecture=None, context_tokens=None))
    with pytest.raises(ModelFileBroken, match="architecture"):
        read_gguf(path)
