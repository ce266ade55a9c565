"""What the twin knows of one pool: replicas of one model on hardware, as numbers in draw after draw."""

from dataclasses import dataclass

from perdure.models.cost_compiled import CompiledTable, Floats
from perdure.silicon.ranges import Range


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """Memory below HBM that holds KV.

    size_bytes  of each replica; of a shared one, of all together
    shared      whether one such memory serves all replicas of the pool, rather than each its own
    """

    name: str
    size_bytes: float
    read_bytes_per_s: float
    write_bytes_per_s: float
    latency_s: float
    shared: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """How a vLLM-like engine is set, per replica.

    sequences_max     calls that run at once; batch_tokens_max: tokens of one batch (the chunk of a prompt)
    block_tokens      of one block of KV
    step_s            what calibration adds to every step beyond the cost model's own software time
    draft_tokens      guessed for every decode and checked in one step; accept: how likely one is right that
                      follows right ones
    swaps             whether a preempted call's KV goes to the tier below at once and comes back from there;
                      otherwise what is evicted of it meanwhile is computed again
    prefill_cache     whether replicas that compute prompts for others find prefixes that they computed before
    """

    sequences_max: int
    batch_tokens_max: int
    block_tokens: int = 16
    step_s: float = 0.0
    draft_tokens: int = 0
    accept: float = 0.0
    prefill_cache: bool = True
    swaps: bool = False

    @property
    def step_tokens(self) -> float:
        """Tokens that a decode makes in one step, on the mean: one, and drafts up to the first wrong one."""
        return sum(self.accept**place for place in range(self.draft_tokens + 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """Watts of one replica in one draw: at idle, and what being as busy as can be adds."""

    idle_w: float
    busy_w: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Fabric:
    """What joins the replicas of a pool, for KV that moves from one to another, in one draw.

    near  within one domain of the fastest links; far: between two of them
    """

    near_bytes_per_s: float
    near_s: float
    far_bytes_per_s: float
    far_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Rail:
    """Parallel switches of some links: how much slower decoding is without one of them.

    domain_chips  that they join; slowness: infinite where there is only one
    """

    links: str
    domain_chips: int
    slowness: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What batches of one instance cost in one draw of the guesses.

    prefill_s_per_token   of a short prompt; prefill_s_per_token2: what each token squared adds
    decode_s_per_token    of one sequence in a batch of some
    power                 None where the chip's is not known
    fabric                None where no KV moves between replicas
    """

    table: CompiledTable
    prefill_s_per_token: float
    prefill_s_per_token2: float
    decode_s_per_token: float
    power: Power | None
    fabric: Fabric | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """One kind of number that the result rests on: how many figures, how sure, and who says so."""

    what: str
    status: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Replicas of one model, all alike.

    name              as it was written; `model` the id, `hardware` what people call it
    chips             of one replica
    spans             [span, (limit of entries, tokens to an entry)]
    kv_tokens         that one replica holds; sequence_tokens: what a running call takes beside its context
    window_tokens     the most that one context may have
    prefill_replicas  of them, that only compute prompts for the others; 0: all do all
    domain_chips      that the fastest links join, replica after replica; node_chips: in one server
    rails             whose loss slows replicas down
    draws             costs in each draw; none where nothing is guessed
    busy_share        [sequences, context] and [tokens, context] how busy chips are, by powers of two
    """

    name: str
    model: str
    hardware: str
    chips: int
    replicas: int
    ranks: int
    engine: Engine
    spans: Floats
    kv_tokens: int
    kv_bytes_per_token: float
    sequence_tokens: int
    window_tokens: int
    mid: Costs
    draws: tuple[Costs, ...]
    busy_share: Floats
    mixed_share: Floats
    usd_per_chip_h: Range | None
    usd_per_j: Range | None
    tiers: tuple[Tier, ...] = ()
    provenance: tuple[Provenance, ...] = ()
    prefill_replicas: int = 0
    domain_chips: int = 1
    node_chips: int = 1
    rails: tuple[Rail, ...] = ()

    @property
    def kv_blocks(self) -> int:
        """Blocks of one replica's HBM."""
        return self.kv_tokens // self.engine.block_tokens

    @property
    def sequence_blocks(self) -> int:
        """Blocks that a running call takes beside its context."""
        return -(-self.sequence_tokens // self.engine.block_tokens)
