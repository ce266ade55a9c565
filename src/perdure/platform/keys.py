"""Who may ask: how keys are made, kept and checked."""

import asyncio
import hashlib
import hmac
from collections import OrderedDict

from perdure.clock import Clock
from perdure.errors import NotAllowed
from perdure.platform.limits import KEY_SEEN_S, KEYS_SEEN_MAX
from perdure.platform.store import Store
from perdure.rng import new_secret

PREFIX = "sk-perdure-"
REMEDY = "Send `Authorization: Bearer KEY` or `x-api-key: KEY`; `perdure env` prints your key."


class Keys:
    """Makes keys and tells whose they are.

    A key is 256 random bits. Kept is its HMAC-SHA-256 with the pepper, a secret of this machine: a stolen
    table gives no keys, and a guess cannot be tried without the pepper. A key that was found good is
    trusted for `KEY_SEEN_S` without another look.
    """

    def __init__(self, *, store: Store, pepper: str, clock: Clock) -> None:
        self._store = store
        self._pepper = pepper.encode()
        self._clock = clock
        self._seen: OrderedDict[str, tuple[str, float]] = OrderedDict()

    def make(self, workspace: str) -> str:
        """A new key for `workspace`; it is shown now and never again."""
        key = PREFIX + new_secret()
        self._store.add_key(key_hash=self._hash(key), workspace=workspace, created_s=self._clock.now_s())
        return key

    def owns(self, key: str) -> bool:
        """Whether `key` is good here. Blocks."""
        return self._store.workspace_of(self._hash(key)) is not None

    async def workspace_of(self, key: str | None) -> str:
        """The workspace that `key` belongs to; NotAllowed when it is missing or wrong."""
        if not key:
            raise NotAllowed(f"no API key was sent. {REMEDY}")
        key_hash = self._hash(key)
        now_s = self._clock.monotonic_s()
        workspace, until_s = self._seen.get(key_hash, ("", now_s))
        if now_s < until_s:
            return workspace
        found = await asyncio.to_thread(self._store.workspace_of, key_hash)
        if found is None:
            raise NotAllowed(f"that API key is not known here. {REMEDY}")
        self._seen[key_hash] = (found, now_s + KEY_SEEN_S)
        self._seen.move_to_end(key_hash)
        if len(self._seen) > KEYS_SEEN_MAX:
            self._seen.popitem(last=False)
        return found

    def _hash(self, key: str) -> str:
        return hmac.new(self._pepper, key.encode(), hashlib.sha256).hexdigest()
