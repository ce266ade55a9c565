"""What a layer does with a token by itself: one dense block, or experts of which each token meets a few."""

from dataclasses import dataclass

from perdure.models.architecture_matrix import Matrix, parameters_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Dense:
    """Gate, up and down projection that every token passes."""

    channels: int

    def matrices(self, hidden_channels: int) -> tuple[Matrix, ...]:
        """Gate and up in one, and down again."""
        return _up_and_down("feed-forward", hidden_channels, self.channels)

    def routed_parameters(self, hidden_channels: int) -> int:
        """No experts."""
        del hidden_channels
        return 0

    def always_on_parameters(self, hidden_channels: int) -> int:
        """All of it."""
        return parameters_of(self.matrices(hidden_channels))

    def active_parameters(self, hidden_channels: int) -> int:
        """All of it."""
        return self.always_on_parameters(hidden_channels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Experts:
    """A router sends each token to `active` of `routed` experts; a shared one sees every token.

    shared_channels  of all shared experts together; zero for none
    shared_gate      the shared expert's share is decided by a gate of its own
    router_bias      one number an expert balances the choice
    input_channels   what an expert sees, where the layer narrows the token first; None for all channels
    """

    routed: int
    active: int
    channels: int
    shared_channels: int = 0
    shared_gate: bool = False
    router_bias: bool = False
    bias: bool = False
    input_channels: int | None = None

    def expert_matrices(self, hidden_channels: int) -> tuple[Matrix, ...]:
        """One routed expert: gate and up in one, and down again."""
        seen_channels = self.input_channels or hidden_channels
        return _up_and_down("expert", seen_channels, self.channels, bias=self.bias)

    def matrices(self, hidden_channels: int) -> tuple[Matrix, ...]:
        """What every token passes: router, shared expert, and the way into and out of narrow experts."""
        router = Matrix(name="router", inputs=hidden_channels, outputs=self.routed, cut="none")
        shared = _up_and_down("shared expert", hidden_channels, self.shared_channels)
        gate = Matrix(name="shared gate", inputs=hidden_channels, outputs=1, cut="none")
        narrow = self.input_channels or 0
        latent = (
            Matrix(name="expert latent down", inputs=hidden_channels, outputs=narrow, cut="none"),
            Matrix(name="expert latent up", inputs=narrow, outputs=hidden_channels, cut="none"),
        )
        return (
            router,
            *(shared if self.shared_channels else ()),
            *((gate,) if self.shared_gate else ()),
            *(latent if narrow else ()),
        )

    def expert_parameters(self, hidden_channels: int) -> int:
        """Numbers in one routed expert."""
        return parameters_of(self.expert_matrices(hidden_channels))

    def routed_parameters(self, hidden_channels: int) -> int:
        """Numbers in all routed experts of one layer."""
        return self.routed * self.expert_parameters(hidden_channels)

    def always_on_parameters(self, hidden_channels: int) -> int:
        """What every token meets in one layer, the router among it."""
        bias = self.routed if self.router_bias else 0
        return parameters_of(self.matrices(hidden_channels)) + bias

    def active_parameters(self, hidden_channels: int) -> int:
        """What one token meets in one layer."""
        return self.always_on_parameters(hidden_channels) + self.active * self.expert_parameters(
            hidden_channels
        )

    def touched(self, tokens: float) -> float:
        """Distinct experts that `tokens` meet, each choosing its few evenly and independently."""
        return self.routed * (1 - (1 - self.active / self.routed) ** tokens)


FeedForward = Dense | Experts


def _up_and_down(
    name: str, seen_channels: int, inner_channels: int, *, bias: bool = False
) -> tuple[Matrix, ...]:
    return (
        Matrix(name=f"{name} up", inputs=seen_channels, outputs=2 * inner_channels, bias=bias),
        Matrix(name=f"{name} down", inputs=inner_channels, outputs=seen_channels, cut="inputs", bias=bias),
    )
