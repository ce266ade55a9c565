"""Where chance comes from: the only module that draws it.

A draw that must be the same twice takes a `seeded` generator named for its purpose; ids and secrets,
which must never be the same twice, come from the operating system.
"""

import hashlib
import random
import secrets
from random import Random

Rng = Random
"""A generator of chance. Take one as an argument; never make one inside a decision."""


def seeded(seed: int, purpose: str) -> Rng:
    """The generator that `seed` gives for `purpose`; other purposes draw independently of it."""
    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    return random.Random(int.from_bytes(digest[:16], "big"))


def new_id(prefix: str) -> str:
    """A fresh id such as `run_7f3a...`: 96 random bits in lower-case hex after the prefix."""
    return f"{prefix}_{secrets.token_hex(12)}"


def new_secret() -> str:
    """256 random bits, URL-safe, for keys and salts."""
    return secrets.token_urlsafe(32)
