"""The closed loop that is simulated for measured rows: as the reference has it, and its own laws."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.catalog.load import load_catalog
from perdure.models.batch import sums_of
from perdure.models.cost_compiled import arrays_of
from perdure.models.cost_sample import Sample
from perdure.models.cost_table import CostTable, Limits
from perdure.twin.closed_loop_compiled import Replica, Requests, closed_loop
from perdure.twin.deployment_text import parse_deployment
from perdure.twin.reference import Call, EngineSettings, replay

CLIENT_S = 0.002


@cache
def table() -> CostTable:
    """Llama-3.1-8B on an H200."""
    instance = parse_deployment("h200x1/llama-3.1-8b", load_catalog()).instance
    return Sample(instance, Limits(tokens=2048, sequences=64, context_tokens=4096)).table()


def replica(**changes: object) -> Replica:
    """A replica of vLLM, with `changes`."""
    plain = Replica(
        table=arrays_of(table()),
        every=np.array([float(span.every_tokens) for span in table().spans]),
        limits=np.array([np.inf for _ in table().spans]),
        ranks=1,
        step_tokens_max=512,
        room_tokens=np.inf,
        sequences_max=64,
        mixed=True,
        chunked=True,
        overlapped=True,
        receive_steps=1,
        prefill_times=1.0,
    )
    return plain._replace(**changes)


def lengths(numbers: list[int]) -> np.ndarray:
    return np.array(numbers, dtype=np.int64)


requests_of = st.lists(st.tuples(st.integers(1, 1500), st.integers(1, 60)), min_size=1, max_size=24)


def referred(shapes: list[tuple[int, int]], clients: int, *, overlapped: bool) -> list[tuple[float, float]]:
    """Waits for the first token and for the last one, by the reference."""
    calls = [
        Call(ready_s=0.0, tokens=range(10**6 * n, 10**6 * n + p + a), prompt_tokens=p)
        for n, (p, a) in enumerate(shapes)
    ]
    coming = calls[clients:]
    sent_s = [0.0] * len(calls)
    count = min(clients, len(calls))

    def then(number: int, ended_s: float) -> list[Call]:
        nonlocal count
        if not coming:
            return []
        following = coming.pop(0)
        ready_s = ended_s + CLIENT_S
        sent_s[count] = ready_s
        count += 1
        return [Call(ready_s=ready_s, tokens=following.tokens, prompt_tokens=following.prompt_tokens)]

    engine = EngineSettings(
        kv_blocks=100_000, batch_tokens_max=512, sequences_max=64, overlapped=overlapped, prefix_caching=False
    )
    done = replay(
        calls[:clients],
        engine,
        lambda batch: table().seconds(sums_of(batch, table().spans, 1)),
        then=then,
    )
    return [
        ((outcome.first_token_s or 0.0) - sent, (outcome.ended_s or 0.0) - sent)
        for outcome, sent in zip(done.outcomes, sent_s, strict=True)
    ]


@pytest.mark.parametrize("overlapped", [True, False])
@pytest.mark.parametrize(
    "shapes, clients",
    [
        ([(300, 20)] * 12, 4),
        ([(700, 9), (100, 30), (40, 25), (900, 12)] * 4, 3),
        ([(1200, 1), (64, 40)] * 6, 5),
        ([(256, 33)] * 9, 9),
        ([(64, 2500)] * 12, 12),
    ],
)
def test_waits_are_those_of_the_reference(
    shapes: list[tuple[int, int]], clients: int, overlapped: bool
) -> None:
    """Jumping over decode steps at the price of the middle one moves no wait by more than one percent."""
    done = closed_loop(
        replica(overlapped=overlapped),
        clients,
        lengths([prompt for prompt, _ in shapes]),
        lengths([answer for _, answer in shapes]),
        CLIENT_S,
    )
    expected = referred(shapes, clients, overlapped=overlapped)
    assert done.first_s - done.sent_s == pytest.approx([first for first, _ in expected], rel=0.01)
    assert done.ended_s - done.sent_s == pytest.approx([ended for _, ended in expected], rel=0.01)


def run(shapes: list[tuple[int, int]], clients: int, **changes: object) -> Requests:
    return closed_loop(
        replica(**changes),
        clients,
        lengths([prompt for prompt, _ in shapes]),
        lengths([answer for _, answer in shapes]),
        CLIENT_S,
    )


@settings(max_examples=40)
@given(
    shapes=requests_of,
    clients=st.integers(1, 8),
    mixed=st.booleans(),
    chunked=st.booleans(),
    overlapped=st.booleans(),
    receive_steps=st.integers(1, 5),
    served=st.integers(1, 8),
    room_tokens=st.integers(1600, 9000),
)
def test_every_request_is_answered_in_the_order_in_which_it_was_sent(
    shapes: list[tuple[int, int]],
    clients: int,
    mixed: bool,
    chunked: bool,
    overlapped: bool,
    receive_steps: int,
    served: int,
    room_tokens: int,
) -> None:
    """Law: first tokens come in the order of sending, after it, and no answer ends before it began."""
    done = run(
        shapes,
        clients,
        mixed=mixed,
        chunked=chunked,
        overlapped=overlapped,
        receive_steps=receive_steps,
        sequences_max=served,
        room_tokens=float(room_tokens),
    )
    assert (done.first_s > done.sent_s).all()
    assert (done.ended_s >= done.first_s).all()
    assert (np.diff(done.first_s) >= 0).all()
    assert (np.diff(done.sent_s) >= 0).all()


def test_decodes_wait_for_prompts_where_these_run_alone() -> None:
    """SGLang: the answer that is under way takes longer by the prompt's step than beside it."""
    shapes = [(64, 50), (64, 10), (1500, 2)]
    beside, alone = run(shapes, 2), run(shapes, 2, mixed=False)
    assert alone.ended_s[0] > beside.ended_s[0]


def test_one_client_too_many_waits_for_a_whole_answer() -> None:
    """Four clients for three places: on average each waits for a third of an answer."""
    shapes = [(64, 60)] * 40
    done = run(shapes, 4, sequences_max=3)
    answer_s = float((done.ended_s - done.first_s)[8:].mean())
    assert float((done.first_s - done.sent_s)[8:].mean()) == pytest.approx(answer_s / 3, rel=0.25)


def test_looking_seldom_makes_first_tokens_later() -> None:
    """A server that looks every twenty steps at what came in answers later than one that always looks."""
    shapes = [(64, 90 + 7 * (number % 5)) for number in range(24)]
    often, seldom = run(shapes, 4), run(shapes, 4, receive_steps=20)
    assert (seldom.first_s - seldom.sent_s).mean() > 2 * (often.first_s - often.sent_s).mean()
