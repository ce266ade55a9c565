"""What the compiled twin knows of each kind of thing, as records. Place 0 is nobody's.

Index 0 of segments, nodes, holders and of every list stands for "none", so that no index is ever negative.
"""

import numpy as np

from perdure.compiling import Records

# How a turn ended. A turn that the run's end cut off, or that was never reached, stays OPEN.
OPEN, DONE, TOO_LONG, PREEMPTED_TOO_OFTEN, NO_ROOM, REFUSED, REPLICA_LOST = range(7)
OUTCOMES = ("open", "done", "too_long", "preempted_too_often", "no_room", "refused", "replica_lost")

# What a session is doing.
ASLEEP, GAP, AWAITING, OUTSIDE, QUEUED, LOADING, PREFILLING, DECODING, OVER = range(9)

# What a replica is doing: nothing, about to form a batch, computing one, broken.
IDLE, FORMING, RUNNING, DOWN = range(4)

# Kinds of events.
CALL, TOOL_ENDED, ADMIT, AGAIN, QUOTA, BREAK, NOTICE, MEND, DRAIN = range(9)

# What becomes of a running call whose replica broke.
RESUME, RESTART, END = range(3)

# Policies that need no facts are carried out without asking.
ASK, FIRST_COME = 0, 1

BIN_TOKENS = 21  # octaves of a context, and of a batch's tokens, in the log of how busy chips are
BIN_SEQUENCES = 13
BIN_MIXED = 18
GAP_BINS = 48  # of the learned law of gaps: quarter octaves from a tenth of a second
GAP_SUM = GAP_BINS  # where, after the bins, the sum of all gaps stands

SEGMENT = np.dtype(
    [
        ("parent", np.int64),  # the segment that it goes on from
        ("depth", np.int64),  # segments above it
        ("begin", np.int64),  # where its first block starts, in tokens of the context
        ("owner", np.int64),  # the session whose context it is part of
        ("shared", np.bool_),  # whether another session goes on from it
        ("first_node", np.int64),  # its copies
    ],
    align=True,
)

NODE = np.dtype(
    [
        ("segment", np.int64),
        ("holder", np.int64),
        ("end", np.int64),  # tokens of the context that are held, from where the segment begins
        ("uses", np.int64),  # calls and pins that need it now
        ("older", np.int64),  # neighbours among what may be evicted
        ("newer", np.int64),
        ("linked", np.bool_),
        ("ready_s", np.float64),  # when what is being loaded into it is there
        ("next_node", np.int64),  # of the same segment, elsewhere; or the next free one
    ],
    align=True,
)

HOLDER = np.dtype(
    [
        ("block_tokens", np.int64),
        ("capacity_blocks", np.int64),
        ("used_blocks", np.int64),
        ("evictable_blocks", np.int64),
        ("peak_blocks", np.int64),
        ("oldest", np.int64),
        ("newest", np.int64),
        ("below", np.int64),  # the next tier down
        ("is_lower", np.bool_),  # whether it is such a tier
        ("shared", np.bool_),  # by the replicas of its pool
        ("pool", np.int64),
        ("level", np.int64),  # tiers between it and the chips: 0 is HBM
        ("kv_bytes_per_token", np.float64),
        ("write_bytes_per_s", np.float64),  # from the tier above, and back to it
        ("read_bytes_per_s", np.float64),
        ("latency_s", np.float64),
        ("link_free_s", np.float64),  # when its link has done what it was given
        ("written_bytes", np.float64),
        ("read_bytes", np.float64),
        ("evicted_tokens", np.int64),  # that went nowhere
        ("moved_tokens", np.int64),  # that went to the tier below
    ],
    align=True,
)

POOL = np.dtype(
    [
        ("first_replica", np.int64),
        ("replicas", np.int64),
        ("block_tokens", np.int64),
        ("window_tokens", np.int64),
        ("prefill_replicas", np.int64),  # the first so many compute prompts for the others; 0: all do all
        (
            "near_bytes_per_s",
            np.float64,
        ),  # of one replica to another of its domain, and before the first byte
        ("near_s", np.float64),
        ("far_bytes_per_s", np.float64),  # of another domain
        ("far_s", np.float64),
        ("swaps", np.bool_),  # whether preempted calls go to the tier below at once, and come back from there
        ("spans", np.int64),
        ("ranks", np.int64),
        ("prefill_s_per_token", np.float64),  # of a short prompt, and what each token squared adds
        ("prefill_s_per_token2", np.float64),
        ("decode_s_per_token", np.float64),
        ("output_mean", np.float64),  # learned
        ("output_count", np.int64),
        ("active_programs", np.int64),
        ("active_tokens", np.float64),  # of the contexts of active programs
        ("capacity_tokens", np.float64),
        ("first_outside", np.int64),  # sessions whose programs wait to be admitted
        ("last_outside", np.int64),
        ("outside", np.int64),
        ("asks", np.bool_),  # whether an event is under way that asks for those outside again
    ],
    align=True,
)

REPLICA = np.dtype(
    [
        ("pool", np.int64),
        ("holder", np.int64),
        ("sequences_max", np.int64),
        ("batch_tokens_max", np.int64),
        ("sequence_blocks", np.int64),  # that a running call takes whatever its length
        ("broken", np.int64),  # faults that keep it down
        ("noticed", np.bool_),  # by the router
        ("closed", np.int64),  # reasons for the router to send nothing there
        ("draining", np.int64),  # fault + 1 that waits for its calls to end
        ("down_at_s", np.float64),
        ("down_s", np.float64),
        ("prefills_only", np.bool_),  # and hands prompts over to others
        ("finds_prefixes", np.bool_),  # whether what it holds is found again by later prompts
        ("handing", np.int64),  # calls whose KV stays until another replica has fetched it
        ("domain", np.int64),  # of the rack's fastest links
        ("sent_free_s", np.float64),  # when its link has sent, and received, what it was given
        ("received_free_s", np.float64),
        ("received_bytes", np.float64),
        ("drafts", np.int64),  # that each decode checks in a step
        ("step_tokens", np.float64),  # that a decode makes in a step: more than 1 where drafts are accepted
        ("pace", np.float64),  # slowness, and what is added to a step, for each of these tokens
        ("pace_step_s", np.float64),
        ("owed_tokens", np.float64),  # parts of tokens that steps with prompts in them made so far
        ("step_s", np.float64),  # added to every step: what calibration left to this engine
        ("slowness", np.float64),  # 1 as bought; 2 for a chip at half its speed
        ("doing", np.int64),
        ("now_s", np.float64),  # when the batch that runs was formed
        ("step", np.int64),  # steps done
        ("run_steps", np.int64),  # that the batch now running makes
        ("run_s", np.float64),
        ("chunks", np.int64),  # prompts in the batch now running
        ("chunk_tokens", np.int64),
        ("running", np.int64),  # slots taken
        ("prefilling", np.int64),
        ("loading", np.int64),
        ("decoding", np.int64),
        ("grown", np.int64),  # blocks that the next step of decodes begins: in use as soon as it is formed
        ("admitted", np.int64),  # calls ever admitted: their order
        ("endings", np.int64),  # in its heap
        ("first_waiting", np.int64),  # sessions + 1, in order of arrival
        ("last_waiting", np.int64),
        ("waiting", np.int64),
        ("first_pin", np.int64),  # sessions whose KV is kept through their gap
        ("last_pin", np.int64),
        ("pins", np.int64),
        # what the router knows of it: only what it sent there and what came back
        ("sent_waiting", np.int64),
        ("sent_running", np.int64),
        ("sent_uncached", np.float64),
        ("sent_context", np.float64),
        ("recent_s", np.float64),
        ("recent_at_s", np.float64),
        # counted
        ("steps", np.int64),
        ("batches", np.int64),
        ("busy_s", np.float64),
        ("share_s", np.float64),  # what one of the running calls had of the batches so far
        ("preemptions", np.int64),
        ("prompt_tokens", np.int64),
        ("cached_tokens", np.int64),
        ("loaded_tokens", np.int64),
        ("computed_tokens", np.int64),
        ("output_tokens", np.int64),
    ],
    align=True,
)

SLOT = np.dtype(
    [
        ("session", np.int64),
        ("taken", np.bool_),
        ("decodes", np.bool_),
        ("loads", np.bool_),
        ("admitted", np.int64),  # its place in the order of admission
        ("prompt", np.int64),
        ("computed", np.int64),  # tokens of the context that are there
        ("chunk", np.int64),  # being computed in the batch now running
        ("joined_step", np.int64),
        ("joined_context", np.int64),  # that its first decode step sees, itself among it
        ("last_step", np.int64),  # after which its answer is complete
        ("ready_s", np.float64),  # when what it loads is there
        ("share_s", np.float64),  # the replica's share clock when it was admitted
    ],
    align=True,
)

SESSION = np.dtype(
    [
        ("program", np.int64),
        ("pool", np.int64),
        ("first_turn", np.int64),
        ("last_turn", np.int64),  # the one after its last
        ("turn", np.int64),  # the one that it is at
        ("doing", np.int64),
        ("forked", np.bool_),
        ("parent", np.int64),
        ("shared_tokens", np.int64),  # of its context, that another session of its program has too
        ("counted_tokens", np.float64),  # into its program's context
        ("joined", np.bool_),
        ("join_turn", np.int64),  # of all turns
        ("next_sibling", np.int64),  # forked by the same turn: session + 1
        ("home", np.int64),  # the replica of its last call
        ("routed", np.bool_),  # whether it has one
        ("prompt_home", np.int64),  # likewise of those that compute prompts for others
        ("prompt_routed", np.bool_),
        ("lost", np.bool_),  # whether its call ran on a replica that broke
        ("handed", np.bool_),  # whether its prompt was computed there and its KV is not here yet
        ("holds", np.bool_),  # whether it still uses that KV there
        ("slot", np.int64),
        ("next_waiting", np.int64),  # session + 1
        ("previous_waiting", np.int64),
        ("ready_s", np.float64),
        ("ended_s", np.float64),  # its last call
        ("pinned", np.bool_),
        ("pin_leaf", np.int64),
        ("pin_replica", np.int64),
        ("next_pin", np.int64),
        ("previous_pin", np.int64),
        ("began", np.bool_),  # whether this call was ever admitted
        ("preempted", np.int64),
        ("generated", np.int64),  # tokens of this answer that were made before a preemption
        ("uncached", np.float64),  # that the router believes of this call
        ("attained_s", np.float64),
        ("output_mean", np.float64),
        ("output_count", np.int64),
        ("sequence", np.int64),  # of its call, for ties
        ("attempts", np.int64),
    ],
    align=True,
)

PROGRAM = np.dtype(
    [
        ("arrival_s", np.float64),
        ("tenant", np.int64),
        ("first_session", np.int64),
        ("last_session", np.int64),
        ("open_sessions", np.int64),
        ("pool", np.int64),  # of its first session
        ("priority", np.int64),
        ("declared", np.bool_),
        ("turns_left", np.int64),
        ("shared_tokens", np.int64),  # of its first context, that other programs have too
        ("active", np.bool_),
        ("calls", np.int64),  # that are under way
        ("failed", np.int64),  # the outcome that ended it early
        ("began_s", np.float64),
        ("ended_s", np.float64),
        ("attained_s", np.float64),
        ("context_tokens", np.float64),  # counted into its pool's active tokens
    ],
    align=True,
)

TURN = np.dtype(
    [
        ("prompt", np.int64),
        ("output", np.int64),
        ("max_output", np.int64),
        ("leaf", np.int64),
        ("dead_leaf", np.int64),  # the segment that this turn's prompt left behind
        ("first_child", np.int64),  # session + 1 that its answer forks
        ("awaits", np.int64),  # sessions that must end before it
        ("attempts", np.int64),
        ("tool", np.bool_),
        ("outcome", np.int64),
        ("preempted", np.int64),
        ("replica", np.int64),
        ("cached", np.int64),
        ("loaded", np.int64),
        ("rerouted", np.int64),  # times that it was sent anew from a replica that broke or was drained
        ("moved", np.int64),  # tokens whose KV came from the replica that computed the prompt
        ("gap_s", np.float64),
        ("ready_s", np.float64),
        ("started_s", np.float64),
        ("first_s", np.float64),
        ("ended_s", np.float64),
        ("load_s", np.float64),  # between started and first: KV came from tiers below
        ("stalled_s", np.float64),  # between started and first: preempted, it waited again
        ("redone_s", np.float64),  # between first and ended: preempted, it waited and computed again
        ("move_s", np.float64),  # between first and ended: the way to another replica, and the wait there
    ],
    align=True,
)

CLOCK = np.dtype(
    [
        ("now_s", np.float64),
        ("end_s", np.float64),
        ("events", np.int64),
        ("sequence", np.int64),
        ("handled", np.int64),
        ("next_program", np.int64),
        ("open_programs", np.int64),
        ("concurrency", np.int64),
        ("free_node", np.int64),
        ("nodes", np.int64),  # made so far
        ("tools_free", np.int64),  # workers; tools_max 0: as many as are wanted
        ("tools_max", np.int64),
        ("first_tool", np.int64),
        ("last_tool", np.int64),
        ("deadlocks", np.int64),
        ("beliefs", np.int64),  # told so far, and those taken in
        ("believed", np.int64),
        ("preemptions_max", np.int64),
        ("run_steps_max", np.int64),  # of decode steps jumped over in one go
        ("order_kind", np.int64),
        ("admit_kind", np.int64),
        ("retain_kind", np.int64),
        ("fair", np.bool_),
        ("belief_lag_s", np.float64),
        ("belief_events", np.bool_),
        ("finished_turns", np.int64),
        ("faults", np.int64),
        ("quotas", np.bool_),  # whether any tenant has one
        ("priorities", np.bool_),  # whether tenants differ in it
        ("on_loss", np.int64),
        ("lost_tokens", np.int64),  # of KV that running calls had on replicas that broke
        ("samples", np.int64),
        ("next_sample_s", np.float64),
        ("sample_every_s", np.float64),
    ],
    align=True,
)

# What a pool was doing at one time, for pictures of the run.
SAMPLE = np.dtype(
    [
        ("time_s", np.float64),
        ("running", np.int64),
        ("waiting", np.int64),
        ("outside", np.int64),
        ("used_blocks", np.int64),
        ("evictable_blocks", np.int64),
        ("finished", np.int64),
    ],
    align=True,
)
SAMPLES_MAX = 512  # every other one is dropped when they are full
TIERS_MAX = 4  # below HBM


# What an engine told the router: of a segment at a replica, no more than so much is held.
TOLD = np.dtype(
    [("time_s", np.float64), ("segment", np.int64), ("replica", np.int64), ("end", np.int64)], align=True
)


def records(count: int | tuple[int, ...], kind: np.dtype) -> Records:
    """Zeroed records."""
    return np.zeros(count, dtype=kind).view(np.recarray)
