"""A prompt computed on one replica and decoded on another, checked on paper."""

import pytest
from tests.paper_pool import (
    BLOCK_TOKENS,
    KV_BYTES,
    LINK_BYTES_PER_S,
    LINK_S,
    STEP_S,
    TOKEN_S,
    calls,
    check_ended,
    conversation,
    paper_pool,
    simulated,
)

from perdure.catalog.load import load_catalog
from perdure.errors import BadRequest
from perdure.twin.fleet_text import parse_pool
from perdure.twin.pool import Engine
from perdure.twin.pool_make import make_pool

MOVE_S = KV_BYTES / LINK_BYTES_PER_S  # of a token


def test_a_call_is_computed_moved_and_decoded() -> None:
    """1,000 tokens: 110 ms for the prompt, 100 + 10 ms on the way, then ten steps of 10.1 ms."""
    world = simulated(calls((1000, 11)), paper_pool(replicas=2, prefill_replicas=1))
    turn = world.turns[0]
    first_s = STEP_S + 1000 * TOKEN_S
    came_s = first_s + 1000 * MOVE_S + LINK_S
    assert turn.first_s == pytest.approx(first_s)
    assert turn.move_s == pytest.approx(came_s - first_s)
    assert turn.ended_s == pytest.approx(came_s + 10 * (STEP_S + TOKEN_S))
    assert (turn.moved, turn.replica) == (1000, 1)
    assert world.replicas.received_bytes.tolist() == [0.0, 1000 * KV_BYTES]
    assert world.replicas.computed_tokens.tolist() == [1000, 0]
    assert world.replicas.output_tokens.tolist() == [1, 10]
    check_ended(world)


def test_transfers_wait_for_their_link() -> None:
    """Two prompts are computed in one step; the second's KV leaves when the first's has left."""
    world = simulated(calls((1000, 2), (1000, 2)), paper_pool(replicas=3, prefill_replicas=1))
    first_s = STEP_S + 2000 * TOKEN_S
    assert world.turns.first_s.tolist() == pytest.approx([first_s] * 2)
    assert world.turns.move_s.tolist() == pytest.approx([1000 * MOVE_S + LINK_S, 2000 * MOVE_S + LINK_S])
    assert sorted(world.turns.replica.tolist()) == [1, 2]
    check_ended(world)


def test_the_kv_stays_where_it_was_computed_until_it_is_elsewhere() -> None:
    """A prefill replica with room for one prompt computes the next when the first has moved: 220 ms later."""
    pool = paper_pool(replicas=2, prefill_replicas=1, kv_tokens=1600)
    world = simulated(calls((1000, 2), (1000, 2)), pool)
    first_s = STEP_S + 1000 * TOKEN_S
    moved_s = first_s + 1000 * MOVE_S + LINK_S
    ended_s = moved_s + STEP_S + TOKEN_S
    assert world.turns[0].ended_s == pytest.approx(ended_s)
    assert world.turns[1].first_s >= moved_s + first_s - 1e-9
    check_ended(world)


def test_the_next_turn_moves_what_the_other_does_not_hold() -> None:
    """One holds whole blocks of 1,010 tokens, the other of 1,000: so much is moved, and computed."""
    world = simulated(conversation((1000, 11), (100, 2)), paper_pool(replicas=2, prefill_replicas=1))
    prompt, whole = 1111, BLOCK_TOKENS
    assert world.turns[1].moved == prompt - 1010 // whole * whole
    assert world.replicas[0].computed_tokens == 1000 + prompt - 1000 // whole * whole
    assert world.turns[1].cached == 1000 // whole * whole
    check_ended(world)


def test_without_a_cache_every_prompt_is_computed_whole() -> None:
    """prefill_cache=off: the second prompt of 1,111 tokens is computed from its first."""
    engine = Engine(sequences_max=8, batch_tokens_max=8192, block_tokens=BLOCK_TOKENS, prefill_cache=False)
    pool = paper_pool(replicas=2, prefill_replicas=1, engine=engine)
    world = simulated(conversation((1000, 11), (100, 2)), pool)
    assert world.replicas[0].computed_tokens == 1000 + 1111
    assert world.turns.cached.tolist() == [0, 0]
    check_ended(world)


def test_an_answer_of_one_token_is_not_moved() -> None:
    """With the first token everything is said."""
    world = simulated(calls((1000, 1)), paper_pool(replicas=2, prefill_replicas=1))
    assert world.turns[0].ended_s == pytest.approx(STEP_S + 1000 * TOKEN_S)
    assert not world.replicas.received_bytes.any()
    check_ended(world)


def test_links_are_those_of_the_rack() -> None:
    """NVLink of an H200 carries 450 GB/s each way, near; InfiniBand 50 GB/s, far; of two chips twice that."""
    near = make_pool("h200x8/llama-3.1-8b:tp=2,prefill=1,decode=3", {}).mid.fabric
    assert near is not None
    assert near.near_bytes_per_s == pytest.approx(2 * 450e9)
    wide = make_pool("h200x16/llama-3.1-8b:tp=2,prefill=2,decode=6", {}).mid.fabric
    assert wide is not None
    assert wide.near_bytes_per_s == near.near_bytes_per_s
    assert wide.far_bytes_per_s == pytest.approx(2 * 50e9)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ("prefill=1", "both prefill=N and decode=N"),
        ("prefill=1,decode=2,replicas=4", "are 3 replicas, not 4"),
        ("tp=1,prefill=4,decode=5", "8 fit"),
        ("prefill_cache=off", "how many replicas compute prompts"),
        ("prefill=1,decode=1,prefill_cache=perhaps", "write on or off"),
        ("draft=3", "both draft=K"),
        ("draft=3,accept=1.5", "from 0 to 1"),
        ("draft=0,accept=0.5", "from 1 to 32"),
    ],
)
def test_what_cannot_be_is_refused(settings: str, says: str) -> None:
    """Half a split, a split that is not the sum, and shares beyond one say what to write."""
    with pytest.raises(BadRequest, match=says):
        parse_pool(f"h200x8/llama-3.1-8b:{settings}", load_catalog())
