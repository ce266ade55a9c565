"""What a user sees of `perdure models`, and the exit codes."""

import io
import json
from pathlib import Path

import pytest

from perdure.cli.main import main
from perdure.cli.models import obtain
from perdure.config import read_places
from perdure.models import weights_store
from tests.tiny_gguf import gguf


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "mine.gguf"
    path.write_bytes(gguf())
    return path


def test_a_new_user_sees_what_can_be_fetched_and_how(capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is fetched, `list` names each model with size, licence and the command that gets it."""
    assert main(["models", "list"]) == 0
    shown = capsys.readouterr().out
    for words in ("smollm2-135m", "98.4 MB", "Apache-2.0", "perdure models pull smollm2-135m", "Gemma Terms"):
        assert words in shown


def test_a_file_goes_from_pull_to_list_to_verify_to_rm(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each step says what it did, and the file itself outlives them all."""
    name = f"file:{own}"
    assert main(["models", "pull", name]) == 0
    assert f"perdure serve --model {name}" in capsys.readouterr().out
    assert main(["models", "list", "--json"]) == 0
    models = json.loads(capsys.readouterr().out)["models"]
    assert [(m["name"], m["state"]) for m in models] == [
        (name, "here"),
        ("smollm2-135m", "not fetched"),
        ("gemma3-270m", "not fetched"),
    ]
    assert main(["models", "verify"]) == 0
    assert "good, SHA-256" in capsys.readouterr().out
    assert main(["models", "rm", name]) == 0
    assert "stays where it is" in capsys.readouterr().out
    assert own.exists()


def test_a_broken_file_makes_verify_fail(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The exit code is 1, and the line says which model and what to do."""
    assert main(["models", "pull", f"file:{own}"]) == 0
    own.write_bytes(own.read_bytes()[:-1] + b"x")
    assert main(["models", "verify"]) == 1
    assert "BROKEN" in capsys.readouterr().err
    own.unlink()
    assert main(["models", "verify", f"file:{own}"]) == 1
    assert "missing" in capsys.readouterr().err
    assert main(["models", "list"]) == 0
    assert "gone" in capsys.readouterr().out


def test_a_broken_file_is_never_served(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One flipped byte, and `serve` refuses, with the commands that put it right; also after a good check."""
    name = f"file:{own}"
    assert main(["models", "pull", name]) == 0
    assert obtain(name, read_places(), yes=False).path == own
    good = own.read_bytes()
    own.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    assert main(["serve", "--model", name, "--port", "0"]) == 1
    assert f"perdure models rm {name}; perdure models pull {name}" in capsys.readouterr().err
    own.write_bytes(good)
    assert obtain(name, read_places(), yes=False).path == own


def test_a_file_is_hashed_again_only_when_it_may_have_changed(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start after a good check looks at size, times and inode; a touched file is hashed once more."""
    name, hashed = f"file:{own}", list[Path]()
    assert main(["models", "pull", name]) == 0
    honest = weights_store.sha256_of

    def noted(path: Path, progress: weights_store.Progress) -> str:
        hashed.append(path)
        return honest(path, progress)

    monkeypatch.setattr(weights_store, "sha256_of", noted)
    for _ in range(2):
        obtain(name, read_places(), yes=False)
    assert hashed == [own]
    own.touch()
    for _ in range(2):
        obtain(name, read_places(), yes=False)
    assert hashed == [own, own]


def test_a_licence_is_not_accepted_by_silence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With nobody at the terminal it ends in usage error 2, which names the licence and the flag."""
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert main(["models", "pull", "gemma3-270m"]) == 2
    shown = capsys.readouterr()
    assert "https://ai.google.dev/gemma/terms" in shown.err
    assert "--accept-license" in shown.err
    assert main(["models", "pull", "gemma3-270m", "--yes"]) == 2
    assert "--accept-license" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["pull", "none"], ["rm", "none"], ["verify", "none"]])
def test_an_unknown_model_is_a_usage_error(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, and the message helps on."""
    assert main(["models", *words]) == 2
    assert "none" in capsys.readouterr().err
