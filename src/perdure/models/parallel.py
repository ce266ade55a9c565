"""How one instance of a model is laid over its chips, and which layouts no engine would run."""

from collections.abc import Iterable
from dataclasses import dataclass

from perdure.errors import BadRequest
from perdure.models.architecture import Architecture
from perdure.models.architecture_attention import Attention, LinearAttention
from perdure.models.architecture_feed_forward import Experts


@dataclass(frozen=True, slots=True, kw_only=True)
class Parallel:
    """Degrees of parallelism of one instance, over `tp * dp * pp` chips.

    tp  chips that share each head's work and each matrix of attention
    pp  stages of consecutive layers, each on chips of its own
    dp  groups that attend apart, each to sequences of its own (data-parallel attention)
    ep  ways that the routed experts are dealt out over the `tp * dp` chips of a stage; what remains of these
        cuts each expert
    """

    tp: int = 1
    pp: int = 1
    dp: int = 1
    ep: int = 1

    @property
    def stage_chips(self) -> int:
        """Chips that hold the same layers, and that share their experts."""
        return self.tp * self.dp

    @property
    def chips(self) -> int:
        """All of the instance."""
        return self.stage_chips * self.pp

    @property
    def moe_tp(self) -> int:
        """Ways that one expert is cut."""
        return self.stage_chips // self.ep

    @property
    def text(self) -> str:
        """As it is typed: `tp=8,ep=8`."""
        degrees = (("tp", self.tp), ("pp", self.pp), ("dp", self.dp), ("ep", self.ep))
        return ",".join(f"{name}={degree}" for name, degree in degrees if degree > 1) or "tp=1"


def check_parallel(model: Architecture, parallel: Parallel) -> None:
    """Refuse what no engine would run, and say which degree to change."""
    experts = [group.feed_forward for group in model.groups if isinstance(group.feed_forward, Experts)]
    if parallel.dp > 1 and not experts:
        raise BadRequest(
            f"{model.name} has no routed experts that groups of attention could share, so dp={parallel.dp} "
            f"would be {parallel.dp} instances; leave dp out and count instances instead",
            param="dp",
        )
    if parallel.ep > 1 and not experts:
        raise BadRequest(f"{model.name} has no routed experts to deal out; leave ep out", param="ep")
    if parallel.stage_chips % parallel.ep:
        raise BadRequest(
            f"ep={parallel.ep} does not divide the tp * dp = {parallel.stage_chips} chips of a stage",
            param="ep",
        )
    routed = min((expert.routed for expert in experts), default=parallel.ep)
    if routed % parallel.ep:
        raise BadRequest(f"ep={parallel.ep} does not divide the {routed} experts of {model.name}", param="ep")
    if parallel.pp > model.layers:
        raise BadRequest(
            f"pp={parallel.pp} is more than the {model.layers} layers of {model.name}", param="pp"
        )
    heads = min(query_heads(group.attention) for group in model.groups)
    if heads % parallel.tp:
        raise BadRequest(
            f"tp={parallel.tp} does not divide the {heads} heads of {model.name}; "
            f"tp may be {_listed(divisor for divisor in range(1, heads + 1) if heads % divisor == 0)}",
            param="tp",
        )


def query_heads(attention: Attention) -> int:
    """Heads among which tensor parallelism can divide one layer's attention."""
    return attention.value_heads if isinstance(attention, LinearAttention) else attention.query_heads


def _listed(numbers: Iterable[int]) -> str:
    words = [str(number) for number in numbers]
    return " or ".join((", ".join(words[:-1]), words[-1])) if len(words) > 1 else words[0]
