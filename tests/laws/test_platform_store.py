"""Laws of the tables: kept as long as promised and no longer, for their owner alone, both or nothing."""

from pathlib import Path

import pytest

from perdure.errors import StorageFailed
from perdure.platform.limits import REPLAY_LIFE_S, RESPONSE_LIFE_S
from perdure.platform.store import Replay, Store, StoredResponse


@pytest.fixture
def store(tmp_path: Path):
    opened = Store(tmp_path / "server.db")
    yield opened
    opened.close()


def a_replay(now_s: float, body: bytes = b"answer", key: str = "k") -> Replay:
    return Replay(
        workspace="w",
        key=key,
        body_hash="h",
        content_type="t",
        ignored="",
        body=body,
        expires_s=now_s + REPLAY_LIFE_S,
    )


def a_response(now_s: float, response_id: str = "resp_1") -> StoredResponse:
    return StoredResponse(
        id=response_id,
        workspace="w",
        previous_id=None,
        body=b"{}",
        items=b"[]",
        expires_s=now_s + RESPONSE_LIFE_S,
    )


def test_answers_are_kept_as_long_as_promised(store: Store) -> None:
    """A replay lives 24 hours and a response 7 days, not a second more, swept or not."""
    store.finish(replay=a_replay(100.0), response=a_response(100.0))
    assert (REPLAY_LIFE_S, RESPONSE_LIFE_S) == (86_400, 604_800)
    assert store.replay("w", "k", 100.0 + 86_399) is not None
    assert store.replay("w", "k", 100.0 + 86_400) is None
    assert store.response("resp_1", "w", 100.0 + 604_799) is not None
    assert store.response("resp_1", "w", 100.0 + 604_800) is None
    store.purge(100.0 + 86_400)
    assert store.replay("w", "k", 100.0) is None
    assert store.response("resp_1", "w", 100.0) is not None


def test_a_key_may_be_used_again_once_its_answer_has_expired(store: Store) -> None:
    """The new answer takes the place of the old one, even before it is swept."""
    store.finish(replay=a_replay(0.0, b"old"), response=None)
    store.finish(replay=a_replay(90_000.0, b"new"), response=None)
    found = store.replay("w", "k", 90_001.0)
    assert found is not None
    assert found.body == b"new"


def test_nothing_is_found_for_another_workspace(store: Store) -> None:
    """Neither under the same key nor under the same id."""
    store.finish(replay=a_replay(0.0), response=a_response(0.0))
    assert store.replay("other", "k", 1.0) is None
    assert store.response("resp_1", "other", 1.0) is None


def test_both_are_kept_or_neither(store: Store) -> None:
    """When the response cannot be stored, the replay that goes with it is not kept either."""
    store.finish(replay=None, response=a_response(0.0))
    with pytest.raises(StorageFailed, match=r"server\.db"):
        store.finish(replay=a_replay(0.0), response=a_response(0.0))
    assert store.replay("w", "k", 1.0) is None


def test_tables_outlive_the_process_that_wrote_them(store: Store, tmp_path: Path) -> None:
    """What is finished is read by another connection at once."""
    store.finish(replay=a_replay(0.0), response=None)
    other = Store(tmp_path / "server.db")
    assert other.replay("w", "k", 1.0) == a_replay(0.0)
    other.close()
