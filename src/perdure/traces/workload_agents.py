"""What `agents:KEY=VALUE,...` means: programs of coding agents, drawn from the quantiles of recorded ones."""

from perdure.errors import BadRequest
from perdure.traces.generate_agents import Agents, agents_programs
from perdure.traces.generate_family import ROLES_MAX, SUBAGENTS_EACH_MAX, read_roles, roles_of_models
from perdure.traces.generate_preset import DEFAULT_PRESET, load_preset
from perdure.traces.programs import Programs
from perdure.traces.workload_keys import Kind, Number, Settings, Whole, Word, parse_settings
from perdure.traces.workload_load import ARRIVAL_KEYS, PROGRAMS_MAX, read_arrivals, read_concurrency

TOKENS_MAX = 10_000_000
TENANTS_MAX = 100_000
# The largest system prompt of any preset has 21k tokens, and contexts stay within 77 % of the window.
WINDOW_TOKENS_MIN = 32_000
HOURS_MAX = 24.0 * 366
HOURS = 35.0
ROLE_SESSIONS_EACH = 2.0

AGENTS_KEYS: dict[str, Kind] = {
    "programs": Whole(1, PROGRAMS_MAX),
    "hours": Number(1e-3, HOURS_MAX),
    "preset": Word(),
    "models": Whole(1, ROLES_MAX),
    "roles": Word(),
    "subagents": Number(0.0, 1.0),
    "subagents_each": Number(1.0, SUBAGENTS_EACH_MAX),
    "fork": Word(("own", "parent")),
    "prompts": Whole(1, 10_000),
    "tenants": Whole(1, TENANTS_MAX),
    "mixes": Whole(1, TENANTS_MAX),
    "tool_failure": Number(0.0, 0.95),
    "window": Whole(WINDOW_TOKENS_MIN, TOKENS_MAX),
    "compaction": Word(("on", "off")),
    **ARRIVAL_KEYS,
}


def agents_workload(text: str, rng_seed: int) -> Programs:
    """The programs that the settings in `text` ask for; a `seed` in it goes before `rng_seed`."""
    return agents_programs(_agents(parse_settings(text, AGENTS_KEYS), rng_seed))


def _agents(settings: Settings, rng_seed: int) -> Agents:
    preset = load_preset(settings.word("preset", DEFAULT_PRESET))
    one_model = settings.whole("models", 1) == 1 and not settings.has("roles")
    if settings.has("models") and settings.has("roles"):
        raise BadRequest("roles name their models; leave models out", param="workload")
    roles = read_roles(settings.word("roles", "")) if settings.has("roles") else None
    spread = not settings.has("rate", "concurrency")
    hours = settings.number("hours", HOURS) if spread or settings.has("hours") else None
    return Agents(
        preset=preset,
        programs=settings.whole("programs", 1_000),
        hours=hours,
        rate_per_s=settings.number("rate", 1.0) if settings.has("rate") else None,
        concurrency=read_concurrency(settings, None),
        arrivals=read_arrivals(settings, open_loop=not settings.has("concurrency")),
        tenants=settings.whole("tenants", 1),
        mixes=settings.whole("mixes", 20),
        roles=roles or roles_of_models(settings.whole("models", 1)),
        subagents=settings.number("subagents", preset.numbers["subagents_share"] if one_model else 1.0),
        subagents_each=settings.number(
            "subagents_each", preset.numbers["subagents_each"] if one_model else ROLE_SESSIONS_EACH
        ),
        fork_share=_fork_share(settings, preset.numbers["fork_share"] if one_model else 1.0),
        prompts=settings.whole("prompts", 1 if settings.whole("tenants", 1) > 1 else 8),
        tool_failure=settings.number("tool_failure", 0.0),
        window_tokens=settings.whole("window", 0) if settings.has("window") else None,
        compaction=settings.word("compaction", "on") == "on",
        seed=settings.whole("seed", rng_seed),
    )


def _fork_share(settings: Settings, default: float) -> float:
    if not settings.has("fork"):
        return default
    return 1.0 if settings.word("fork", "own") == "parent" else 0.0
