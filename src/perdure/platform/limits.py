"""How much of anything the platform takes, keeps or waits for."""

from perdure.units import MIB

BODY_BYTES_MAX = 32 * MIB
"""A request's body. An agent's largest seen is below 1 MB; 100,000 tokens of context are about 0.5 MB."""

REQUEST_ID_CHARACTERS_MAX = 128
NAME_CHARACTERS_MAX = 256
"""Session, program and parent names in `x-perdure-*` headers."""

IDEMPOTENCY_KEY_CHARACTERS_MAX = 255
REPLAY_LIFE_S = 24 * 3600.0
REPLAY_BYTES_MAX = 16 * MIB
"""A finished answer longer than this is delivered, but not kept for replay."""

RESPONSE_LIFE_S = 7 * 24 * 3600.0
CHAIN_RESPONSES_MAX = 2_000
"""How many responses `previous_response_id` may lead back through."""

PURGE_EVERY_S = 3600.0

WAITING_CALLS_MAX = 256
"""Calls that wait for one engine; one more is answered 429."""

RETRY_AFTER_S_MAX = 60.0
DRAIN_S_MAX = 30.0
"""How long running answers may go on after SIGTERM."""

TRACE_BYTES_MAX = 256 * MIB
"""One session's trace file; calls beyond it are served but not recorded."""

KEY_SEEN_S = 30.0
"""How long a key that was found good is not looked up again."""
KEYS_SEEN_MAX = 10_000
