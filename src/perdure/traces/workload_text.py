"""What a workload written in one line means: `synthetic:requests=..`, `agents:..`, `replay:scale=2,path=..`.

Anything else is the name of a file, which somebody who reads files is asked for. docs/workloads.md says what
each key does.
"""

from collections.abc import Callable
from importlib import import_module
from typing import cast

from perdure.errors import BadRequest
from perdure.traces.arrivals import scale_arrivals
from perdure.traces.generate_synthetic import Synthetic, synthetic_programs
from perdure.traces.programs import Programs
from perdure.traces.workload_keys import TEXT_LENGTH_MAX, Kind, Number, Settings, Whole, Word, parse_settings
from perdure.traces.workload_load import ARRIVAL_KEYS, PROGRAMS_MAX, read_arrivals, read_concurrency

CALLS_MAX = 20_000_000
TOKENS_MAX = 10_000_000
CONCURRENCY = 64

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
    # The laws of agents take longer to import than a small run to simulate.
    return cast(Programs, import_module("perdure.traces.workload_agents").agents_workload(rest, rng_seed))


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
        concurrency=read_concurrency(settings, None if open_loop else CONCURRENCY),
        rate_per_s=settings.number("rate", 1.0),
        arrivals=read_arrivals(settings, open_loop=open_loop),
        seed=settings.whole("seed", rng_seed),
    )
