"""Laws of the journal: all or nothing, one writer, nothing lost, nothing changed."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.clock import VirtualClock
from perdure.errors import Conflict, NotFound, StorageFailed
from perdure.journal.event import EffectChange, EffectState, NewEvent, Snapshot
from perdure.journal.store import Journal

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
BODIES = st.dictionaries(st.text(max_size=8), JSON, max_size=4)


def opened(folder: Path) -> Journal:
    return Journal(folder / "journal.db", clock=VirtualClock(1000.0))


@given(batches=st.lists(st.lists(BODIES, min_size=1, max_size=4), max_size=6))
def test_what_was_appended_is_read_back_in_order(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[dict[str, object]]]
) -> None:
    """Law: reading gives exactly the bodies appended, numbered from 1 without gaps, also after reopening."""
    folder = tmp_path_factory.mktemp("journal")
    with opened(folder) as journal:
        journal.create("s", "session")
        head = 0
        for batch in batches:
            events = [NewEvent(kind="k", body=body) for body in batch]
            head = journal.append("s", events, expected_head=head)[-1].seq
    with opened(folder) as journal:
        read = list(journal.read("s"))
        assert [event.body for event in read] == [body for batch in batches for body in batch]
        assert [event.seq for event in read] == list(range(1, len(read) + 1))
        assert journal.stream("s").head == head


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    """Two processes never act for one stream: the slower one gets Conflict and has written nothing."""
    with opened(tmp_path) as one, opened(tmp_path) as other:
        one.create("s", "session")
        one.append("s", [NewEvent(kind="a", body={})], expected_head=0)
        with pytest.raises(Conflict, match="another process"):
            other.append("s", [NewEvent(kind="b", body={})], expected_head=0)
        assert [event.kind for event in other.read("s")] == ["a"]


def test_events_effects_and_snapshot_stand_or_fall_together(tmp_path: Path) -> None:
    """An append that fails half-way leaves neither its events, nor its effects, nor its snapshot."""
    with opened(tmp_path) as journal:
        journal.create("s", "session")
        intended = EffectChange(key="e", state=EffectState.INTENDED)
        journal.append("s", [NewEvent(kind="a", body={})], expected_head=0, effects=(intended,))
        with pytest.raises(sqlite3.IntegrityError):
            journal.append(
                "s",
                [NewEvent(kind="b", body={})],
                expected_head=1,
                effects=(EffectChange(key="f", state=EffectState.INTENDED), intended),
                snapshot=Snapshot(seq=1, version=1, body=b"x"),
            )
        assert [event.kind for event in journal.read("s")] == ["a"]
        assert [effect.key for effect in journal.effects("s")] == ["e"]
        assert journal.latest_snapshot("s") is None
        journal.append("s", [NewEvent(kind="b", body={})], expected_head=1)


def test_an_effect_settles_once(tmp_path: Path) -> None:
    """An effect that is done is no longer open and cannot be settled again."""
    with opened(tmp_path) as journal:
        journal.create("s", "session")
        for state, head in ((EffectState.INTENDED, 0), (EffectState.DONE, 1)):
            change = EffectChange(key="e", state=state)
            journal.append("s", [NewEvent(kind="k", body={})], expected_head=head, effects=(change,))
        assert journal.open_effects("s") == []
        assert [effect.state for effect in journal.effects("s")] == [EffectState.DONE]
        change = EffectChange(key="e", state=EffectState.UNKNOWN)
        with pytest.raises(AssertionError):
            journal.append("s", [NewEvent(kind="k", body={})], expected_head=2, effects=(change,))


def test_the_journal_file_is_its_owners(tmp_path: Path) -> None:
    """Nobody but the owner reads a journal."""
    with opened(tmp_path) as journal:
        assert journal.path.stat().st_mode & 0o077 == 0


def test_what_is_no_journal_is_refused(tmp_path: Path) -> None:
    """A damaged file gives an error that names it and says what to do."""
    (tmp_path / "journal.db").write_bytes(b"this is not a database, not even nearly" * 100)
    with pytest.raises(StorageFailed, match=r"journal\.db.*damaged"):
        opened(tmp_path)


def test_a_newer_journal_is_refused(tmp_path: Path) -> None:
    """A journal of a later schema is left alone, with a hint to update."""
    with opened(tmp_path):
        pass
    with sqlite3.connect(tmp_path / "journal.db") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StorageFailed, match="newer"):
        opened(tmp_path)


def test_an_unknown_stream_is_not_found(tmp_path: Path) -> None:
    """Asking for a run that is not there says so and how to list those that are."""
    with opened(tmp_path) as journal, pytest.raises(NotFound, match="perdure runs"):
        journal.append("nobody", [NewEvent(kind="a", body={})], expected_head=0)


WRITER = """
import os, signal, sys
from pathlib import Path
from perdure.clock import SystemClock
from perdure.journal.event import NewEvent
from perdure.journal.store import Journal
journal = Journal(Path(sys.argv[1]), clock=SystemClock())
journal.create("s", "session")
for head in range(10):
    journal.append("s", [NewEvent(kind="k", body={"head": head})], expected_head=head)
print("10 acknowledged", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_an_acknowledged_append_survives_sigkill(tmp_path: Path) -> None:
    """Law: what `append` returned for is there after SIGKILL, without any clean close."""
    path = tmp_path / "journal.db"
    ended = subprocess.run(
        [sys.executable, "-c", WRITER, str(path)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ},
    )
    assert ended.returncode == -9, ended.stderr
    assert "10 acknowledged" in ended.stdout
    with Journal(path, clock=VirtualClock()) as journal:
        assert [event.body["head"] for event in journal.read("s")] == list(range(10))
