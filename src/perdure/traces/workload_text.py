"""What a workload written in one line means: `synthetic:requests=..`, `agents:..`, `replay:scale=2,path=..`.

Anything else is the name of a file, which somebody who reads files is asked for. docs/workloads.md says what
each key does.
"""

from collections.abc import Callable

from perdure.errors import BadRequest
from perdure.traces.arrivals import CV_MAX, CV_MIN, DIURNAL_SWING, LAWS, Arrivals, Law, scale_arrivals
from perdure.traces.generate_agents import Agents, agents_programs
from perdure.traces.generate_family import ROLES_MAX, SUBAGENTS_EACH_MAX, read_roles, roles_of_models
from perdure.traces.generate_preset import DEFAULT_PRESET, load_preset
from perdure.traces.generate_synthetic import Synthetic, synthetic_programs
from perdure.traces.programs import Programs
from perdure.traces.workload_keys import TEXT_LENGTH_MAX, Kind, Number, Settings, Whole, Word, parse_settings

CALLS_MAX = 20_000_000
PROGRAMS_MAX = 1_000_000
TOKENS_MAX = 10_000_000
TENANTS_MAX = 100_000
# The largest system prompt of any preset has 21k tokens, and contexts stay within 77 % of the window.
WINDOW_TOKENS_MIN = 32_000
HOURS_MAX = 24.0 * 366
HOURS = 35.0
CONCURRENCY = 64
ROLE_SESSIONS_EACH = 2.0

ARRIVAL_KEYS: dict[str, Kind] = {
    "rate": Number(1e-6, 1e6),
    "concurrency": Whole(1, PROGRAMS_MAX),
    "arrival": Word((*LAWS, "diurnal")),
    "cv": Number(CV_MIN, CV_MAX),
    "swing": Number(0.0, 0.99),
    "seed": Whole(0, 2**63 - 1),
}
SYNTHETIC_KEYS: dict[str, Kind] = {
    "requests": Whole(1, CALLS_MAX),
    "input": Whole(1, TOKENS_MAX),
    "output": Whole(1, TOKENS_MAX),
    "turns": Whole(1, 100_000),
    "new": Whole(1, TOKENS_MAX),
    "gap": Number(0.0, 1e7),
    "shared": Whole(0, TOKENS_MAX),
    "groups": Whole(1, PROGRAMS_MAX),
    **ARRIVAL_KEYS,
}
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
REPLAY_KEYS: dict[str, Kind] = {"scale": Number(1e-6, 1e6), "path": Word()}

ReadFile = Callable[[str], Programs]


def is_file_workload(text: str) -> bool:
    """Whether `text` names a file rather than something to generate."""
    return not text.strip().startswith(("synthetic:", "agents:", "replay:"))


def parse_workload(text: str, *, rng_seed: int, read_file: ReadFile | None = None) -> Programs:
    """The workload that `text` means; a `seed` in it goes before `rng_seed`, a file through `read_file`."""
    kind, _, rest = text.strip().partition(":")
    if is_file_workload(text):
        return _read(text.strip(), read_file)
    if kind == "replay":
        settings, path = _replay(rest)
        return scale_arrivals(_read(path, read_file), settings.number("scale", 1.0))
    if len(text) > TEXT_LENGTH_MAX:
        raise BadRequest(f"a workload is written in at most {TEXT_LENGTH_MAX} characters", param="workload")
    if kind == "synthetic":
        return synthetic_programs(_synthetic(parse_settings(rest, SYNTHETIC_KEYS), rng_seed))
    return agents_programs(_agents(parse_settings(rest, AGENTS_KEYS), rng_seed))


def _read(path: str, read_file: ReadFile | None) -> Programs:
    if read_file is None:
        raise BadRequest(
            f"{path!r} is no generated workload; write synthetic:KEY=VALUE,... or agents:KEY=VALUE,...",
            param="workload",
        )
    return read_file(path)


def _replay(text: str) -> tuple[Settings, str]:
    """The settings before the path, and the path, which may hold anything and comes last."""
    before, marker, path = text.partition("path=")
    if not (marker and path):
        raise BadRequest("a replay names its file last: replay:scale=2,path=FILE", param="workload")
    return parse_settings(before, REPLAY_KEYS), path


def _synthetic(settings: Settings, rng_seed: int) -> Synthetic:
    turns = settings.whole("turns", 1)
    if turns == 1 and settings.has("new", "gap"):
        raise BadRequest(
            "new and gap say what later turns are; set turns too, such as turns=8", param="workload"
        )
    if settings.has("groups") and not settings.has("shared"):
        raise BadRequest("groups share tokens; set shared too, such as shared=1024", param="workload")
    open_loop = settings.has("rate")
    return Synthetic(
        requests=settings.whole("requests", 1_000 * turns),
        input_tokens=settings.whole("input", 2_048),
        output_tokens=settings.whole("output", 128),
        turns=turns,
        new_tokens=settings.whole("new", 256),
        gap_s=settings.number("gap", 0.0),
        shared_tokens=settings.whole("shared", 0),
        groups=settings.whole("groups", 1),
        concurrency=_concurrency(settings, None if open_loop else CONCURRENCY),
        rate_per_s=settings.number("rate", 1.0),
        arrivals=_arrivals(settings, open_loop=open_loop),
        seed=settings.whole("seed", rng_seed),
    )


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
        concurrency=_concurrency(settings, None),
        arrivals=_arrivals(settings, open_loop=not settings.has("concurrency")),
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


def _concurrency(settings: Settings, default: int | None) -> int | None:
    if settings.has("rate") and settings.has("concurrency"):
        raise BadRequest("rate and concurrency are two loads; set one of them", param="workload")
    return settings.whole("concurrency", 1) if settings.has("concurrency") else default


def _arrivals(settings: Settings, *, open_loop: bool) -> Arrivals:
    if not open_loop and settings.has("arrival", "cv", "swing"):
        raise BadRequest("a closed loop starts the next when one ends; arrival needs rate", param="workload")
    word = settings.word("arrival", "poisson")
    law: Law = "poisson" if word == "diurnal" else next(law for law in LAWS if law == word)
    if settings.has("cv") and law not in ("gamma", "weibull"):
        raise BadRequest(f"cv is for arrival=gamma and arrival=weibull, not {word}", param="workload")
    swing = settings.number("swing", DIURNAL_SWING if word == "diurnal" else 0.0)
    return Arrivals(law=law, cv=settings.number("cv", 2.0), swing=swing)
