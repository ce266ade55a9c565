"""What the words after `perdure plan` ask for: a workload, hardware, policies, limits."""

import argparse
import re
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

from perdure.catalog.entry import Entry
from perdure.catalog.load import Catalog
from perdure.config import Places
from perdure.errors import BadRequest, Unavailable
from perdure.processes import usable_cores
from perdure.scheduling.policies import KINDS, Kind, bundle, lacking
from perdure.scheduling.policy_file import Chosen as ChosenPolicy
from perdure.scheduling.policy_file import choose_policy
from perdure.silicon.machine import ID as THIS_MACHINE
from perdure.silicon.machine_record import measured_machine, recorded_machine
from perdure.silicon.price_rent import Rent, typed_rents
from perdure.silicon.ranges import ALL_DRAWS
from perdure.traces.programs import Programs, check_programs
from perdure.traces.workload_text import is_file_workload, parse_workload
from perdure.twin.deployment_text import find_model
from perdure.twin.plan import Ask
from perdure.twin.plan_facts import read_facts, read_power_price, yours
from perdure.twin.plan_layouts import Asked, layouts_of, read_filter
from perdure.twin.plan_measure import GOALS, SEEDS_MAX
from perdure.twin.plan_pools import Sources
from perdure.twin.plan_targets import read_budget, read_slo
from perdure.twin.plan_trials import Choice
from perdure.twin.plan_vary import SCALABLE, Vary, read_vary
from perdure.twin.run import DRAWS_MIN
from perdure.twin.simulate import Policies
from perdure.twin.world import Options

# What a stock vLLM can be told from outside: by whoever holds the queue before it.
ENGINE = ("order", "place", "admit", "salt")
# What a stock engine does by itself, and what a router before it can add.
BUNDLES = ("stock", "preble", "thunderagent")
BUILT_IN_ON = (THIS_MACHINE, "m890x4", "h200x4")
BUILT_IN_MODEL = "llama-3.1-8b"
BUILT_IN_SLO = "ttft_p95<=5s"
BUILT_IN_AGENTS = 100
AGENTS_MAX = 100_000
# Nobody's recorded context is longer.
WINDOW_TOKENS_MAX = 1_000_000
CORES_MAX = 64
RACKS_MAX = 100_000

_SEED = re.compile(r"(?<=[,:])seed=(?P<seed>\d+)(,|$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """An ask, and what a report says of it."""

    ask: Ask
    workload: str
    seeds: tuple[int, ...]
    slo: str
    budget: str
    goal: str
    notes: tuple[str, ...]
    varies: tuple[Vary, ...]
    racks: int


def read_ask(arguments: argparse.Namespace, places: Places) -> Asking:
    """What was typed, checked; raises BadRequest for what makes no sense."""
    notes: list[str] = []
    on, entries = _hardware(arguments, places, notes)
    entries, catalog = _own_figures(arguments, entries, notes)
    sources = Sources(entries=entries, rents={})
    sources = replace(sources, rents=_rents(arguments.price, catalog))
    model = arguments.model or (None if arguments.on else BUILT_IN_MODEL)
    workload = _workload(arguments, model, on, catalog)
    seeds, texts = _seeds(workload, arguments, notes)
    programs = tuple(_programs(text, seed) for text, seed in zip(texts, seeds, strict=True))
    slo = arguments.slo or ("" if arguments.on or arguments.workload else BUILT_IN_SLO)
    targets = read_slo(slo) if slo else ()
    budgets = read_budget(arguments.budget) if arguments.budget else ()
    goal = arguments.goal or ("money" if targets or budgets else "time")
    asked = Asked(
        on=on,
        model=model,
        precisions=tuple(arguments.precision),
        only=read_filter(arguments.only) if arguments.only else None,
        exclude=read_filter(arguments.exclude) if arguments.exclude else None,
    )
    layouts = layouts_of(asked, catalog, sources.rents)
    if not layouts:
        raise BadRequest("--only and --exclude leave nothing to try", param="only")
    ask = Ask(
        layouts=tuple(layouts),
        choices=tuple(_choices(arguments)),
        programs=programs,
        targets=targets,
        budgets=budgets,
        goal=GOALS[goal],
        draws=_draws(arguments.draws),
        sources=sources,
        folder=places.tables_dir,
        cores=min(CORES_MAX, usable_cores()),
    )
    return Asking(
        ask=ask,
        workload=workload,
        seeds=tuple(seeds),
        slo=slo,
        budget=arguments.budget or "",
        goal=goal,
        notes=tuple(notes),
        varies=_varies(arguments.vary),
        racks=_racks(arguments.fleet),
    )


def _hardware(
    arguments: argparse.Namespace, places: Places, notes: list[str]
) -> tuple[tuple[str, ...], tuple[Entry, ...]]:
    """What was named, and this machine where it is among it; of the default it is left out if it must be."""
    on: tuple[str, ...] = tuple(arguments.on) or BUILT_IN_ON
    mine = [text for text in on if text.strip().lower().partition("/")[0] == THIS_MACHINE]
    if not mine:
        return on, ()
    try:
        machine = recorded_machine(places.cache_dir) or measured_machine(places.cache_dir)
    except Unavailable as error:
        if arguments.on:
            raise
        notes.append(f"this machine is left out: {error.message}")
        return tuple(text for text in on if text not in mine), ()
    return on, (machine,)


def _own_figures(
    arguments: argparse.Namespace, entries: tuple[Entry, ...], notes: list[str]
) -> tuple[tuple[Entry, ...], Catalog]:
    """`entries`, and those that the buyer's own figures make; the catalogue with all of them."""
    if arguments.facts:
        entries += read_facts(Path(arguments.facts), Sources(entries=entries, rents={}).catalog())
    if arguments.power_price:
        entries += (read_power_price(arguments.power_price, Sources(entries=entries, rents={}).catalog()),)
    notes += [f"yours: {one.owner} {one.name.replace('_', ' ')} {one.text}" for one in yours(entries)]
    return entries, Sources(entries=entries, rents={}).catalog()


def _rents(texts: list[str], catalog: Catalog) -> dict[str, Rent]:
    """Rents by the id of the chip that was typed."""
    return {catalog.chip(name).id: rent for name, rent in typed_rents(texts).items()}


def _workload(arguments: argparse.Namespace, model: str | None, on: tuple[str, ...], catalog: Catalog) -> str:
    """What was typed, or so many agents, one of each customer, whose contexts fit the model."""
    if arguments.workload:
        if arguments.agents is not None:
            raise BadRequest("--agents is a workload of its own; leave it or --workload out", param="agents")
        return str(arguments.workload)
    agents = BUILT_IN_AGENTS if arguments.agents is None else int(arguments.agents)
    if not 0 < agents <= AGENTS_MAX:
        raise BadRequest(f"--agents {agents}: from 1 to {AGENTS_MAX:,}", param="agents")
    named = model or next((text.partition("/")[2].partition(":")[0] for text in on if "/" in text), None)
    if not named:
        raise BadRequest(
            "no model is named: write HARDWARE/MODEL, or give --model, such as qwen3.5-397b", param="model"
        )
    window = int(find_model(named, catalog).figure("window_tokens").mid)
    return f"agents:programs={agents},tenants={agents},hours=1,window={min(window, WINDOW_TOKENS_MAX)}"


def _seeds(text: str, arguments: argparse.Namespace, notes: list[str]) -> tuple[list[int], list[str]]:
    """The seeds and, for each, the text of its workload; what was recorded there is only one of."""
    wanted = int(arguments.seeds)
    if not 0 < wanted <= SEEDS_MAX:
        raise BadRequest(f"--seeds {wanted}: from 1 to {SEEDS_MAX}", param="seeds")
    if is_file_workload(text) or text.startswith("replay:"):
        if wanted > 1:
            notes.append("a recorded workload is one run: no confidence interval over seeds")
        return [int(arguments.seed)], [text]
    found = _SEED.search(text)
    first = int(found["seed"]) if found else int(arguments.seed)
    plain = _SEED.sub("", text).rstrip(",")
    seeds = [first + number for number in range(wanted)]
    return seeds, [plain] * wanted


def _programs(text: str, seed: int) -> Programs:
    """The workload, run until its last job is over: a job that is cut off has no time to compare."""
    programs = check_programs(parse_workload(text, rng_seed=seed, read_file=_read_file))
    return replace(programs, end_s=None)


def _read_file(text: str) -> Programs:
    # Only a file needs the readers of files, which take a tenth of a second to import.
    return import_module("perdure.traces.workload").read_workload(Path(text))[0]


def _choices(arguments: argparse.Namespace) -> list[Choice]:
    """The bundles that were named, or those to try by default; or the one that single policies make."""
    single = {kind: getattr(arguments, kind) for kind in KINDS if getattr(arguments, kind)}
    names = list(dict.fromkeys(arguments.policy)) or (["stock"] if single else list(BUNDLES))
    return [_choice(name, single, arguments) for name in names]


def _choice(name: str, single: dict[str, str], arguments: argparse.Namespace) -> Choice:
    together = bundle(name)
    chosen: dict[Kind, ChosenPolicy] = {
        kind: choose_policy(kind, single.get(kind) or getattr(together, kind)) for kind in KINDS
    }
    for kind, one in chosen.items():
        missing = lacking(kind, one.name, ENGINE)
        if missing and not arguments.hypothetical:
            raise BadRequest(
                f"the {kind} policy {one.name} needs an engine that can {', '.join(missing)}, and a stock "
                "vLLM cannot be told to; add --hypothetical to see what it would bring",
                param=kind,
            )
    title = "+".join([name, *(f"{kind}={text}" for kind, text in single.items())])
    return Choice.of(
        title,
        {kind: one.name for kind, one in chosen.items()},
        Policies(**{kind: one.function for kind, one in chosen.items()}),
        Options(fair=arguments.fair, tools=arguments.tools),
    )


def _varies(texts: list[str]) -> tuple[Vary, ...]:
    """The numbers to scale; `all`: each of them, to half and to twice what it is."""
    if texts == ["all"]:
        return tuple(Vary(name=name, low=0.5, high=2.0) for name in SCALABLE)
    varies = {vary.name: vary for vary in map(read_vary, texts)}
    return tuple(varies.values())


def _racks(racks: int) -> int:
    if not 0 < racks <= RACKS_MAX:
        raise BadRequest(f"--fleet {racks}: from 1 to {RACKS_MAX:,}", param="fleet")
    return racks


def _draws(draws: int) -> int:
    if draws and not DRAWS_MIN <= draws <= len(ALL_DRAWS):
        raise BadRequest(f"--draws {draws}: 0, or from {DRAWS_MIN} to {len(ALL_DRAWS)}", param="draws")
    return draws
