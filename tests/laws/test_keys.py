"""Laws of keys: good where made, useless elsewhere, and never kept in the clear."""

from pathlib import Path

import pytest

from perdure.clock import VirtualClock
from perdure.errors import NotAllowed
from perdure.platform.client_file import ClientFile, read_client_file, write_client_file
from perdure.platform.keys import Keys
from perdure.platform.limits import KEY_SEEN_S
from perdure.platform.secret_file import read_or_make
from perdure.platform.store import Store


@pytest.fixture
def store(tmp_path: Path):
    opened = Store(tmp_path / "server.db")
    yield opened
    opened.close()


async def test_a_key_is_good_where_it_was_made(store: Store) -> None:
    """A key names its workspace; a changed one, an empty one and none are refused."""
    keys = Keys(store=store, pepper="p", clock=VirtualClock())
    key = keys.make("w")
    assert await keys.workspace_of(key) == "w"
    assert await keys.workspace_of(key) == "w"
    for wrong in (key[:-1], key + "x", key.upper(), "", None):
        with pytest.raises(NotAllowed):
            await keys.workspace_of(wrong)


async def test_a_stolen_table_gives_no_keys(store: Store, tmp_path: Path) -> None:
    """The table holds no key, and its hashes are worth nothing under another pepper."""
    key = Keys(store=store, pepper="p", clock=VirtualClock()).make("w")
    assert key.encode() not in _all_bytes(tmp_path)
    with pytest.raises(NotAllowed):
        await Keys(store=store, pepper="q", clock=VirtualClock()).workspace_of(key)


def _all_bytes(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


async def test_a_key_is_looked_up_again_after_a_while(store: Store) -> None:
    """A key taken out of the table is refused once its time is over."""
    clock = VirtualClock()
    keys = Keys(store=store, pepper="p", clock=clock)
    key = keys.make("w")
    await keys.workspace_of(key)
    store.workspace_of = lambda key_hash: None  # type: ignore[method-assign]
    clock.advance(KEY_SEEN_S / 2)
    assert await keys.workspace_of(key) == "w"
    clock.advance(KEY_SEEN_S)
    with pytest.raises(NotAllowed):
        await keys.workspace_of(key)


def test_keys_differ(store: Store) -> None:
    """Each holds 256 random bits after its prefix."""
    keys = Keys(store=store, pepper="p", clock=VirtualClock())
    made = {keys.make("w") for _ in range(20)}
    assert len(made) == 20
    assert all(key.startswith("sk-perdure-") and len(key) >= 11 + 43 for key in made)


def test_a_secret_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    """Read again it is the same, in a 0600 file in a 0700 folder, and nothing else is left there."""
    path = tmp_path / "deep" / "secrets" / "pepper"
    assert read_or_make(path) == read_or_make(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [entry.name for entry in path.parent.iterdir()] == ["pepper"]


def test_the_client_file_is_its_owners_alone(tmp_path: Path) -> None:
    """Written again it is replaced, mode 0600; absent it is None."""
    path = tmp_path / "config" / "client.json"
    assert read_client_file(path) is None
    for port in (1, 2):
        client = ClientFile(base_url=f"http://127.0.0.1:{port}/v1", api_key="k", model="m")
        write_client_file(path, client)
        assert read_client_file(path) == client
    assert path.stat().st_mode & 0o777 == 0o600
