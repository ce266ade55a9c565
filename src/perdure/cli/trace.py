"""`perdure trace`: what agents did, shown in numbers, read from any format, written for any tool."""

import argparse
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path

from perdure.cli.screen import console, print_json
from perdure.cli.trace_run import run_calls, server_address
from perdure.cli.trace_text import report_text, statistics_text
from perdure.config import read_places
from perdure.errors import BadRequest
from perdure.traces.calls import ImportReport, Tally, report_of
from perdure.traces.export import write_llmservingsim, write_mooncake
from perdure.traces.import_csv import ROLES
from perdure.traces.import_records import programs_of
from perdure.traces.programs import Programs
from perdure.traces.record import CallRecord, write_records
from perdure.traces.statistics import statistics_of
from perdure.traces.workload import FORMATS, read_workload
from perdure.traces.workload_text import is_file_workload, parse_workload

WRITTEN = ("parquet", "mooncake", "llmservingsim", "jsonl")
BLOCK_TOKENS_MAX = 65_536


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be typed after `perdure trace`."""
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    show = verbs.add_parser("show", help="print what a workload is like, and what was repaired to read it")
    show.add_argument("workload", help="a file, folder or archive in any format that is read, or agents:...")
    _reading(show)
    bring = verbs.add_parser("import", help="read a trace of any format and write it as a workload of ours")
    bring.add_argument("workload", metavar="file", help="a file, folder or archive")
    bring.add_argument("--to", type=Path, required=True, metavar="OUT.parquet", help="where to")
    bring.add_argument(
        "--concurrency", type=int, metavar="N", help="run N programs at a time, instead of by their arrivals"
    )
    _reading(bring)
    export = verbs.add_parser("export", help="write a run's model calls, or a workload, for another tool")
    export.add_argument("source", help="a run, as `perdure runs` lists it, or a workload file")
    export.add_argument(
        "--to",
        "--out",
        dest="to",
        type=Path,
        metavar="FILE",
        help="where (default: RUN_ID.jsonl; - is stdout)",
    )
    export.add_argument(
        "--format", choices=WRITTEN, help="default: jsonl of a run, otherwise by the ending of --to"
    )
    export.add_argument(
        "--block-tokens", type=int, metavar="N", help="tokens of a block in Mooncake's rows (512, or 64)"
    )
    export.add_argument(
        "--base-url", metavar="URL", help="the server that served the run (default: this machine's records)"
    )
    export.add_argument("--api-key", metavar="KEY", help="its key (default: PERDURE_API_KEY or your own)")


def _reading(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", choices=FORMATS, help="default: known by the content")
    parser.add_argument(
        "--map", metavar="ROLE=COLUMN,...", help=f"the columns of a CSV file; roles: {', '.join(ROLES)}"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Do what the verb says."""
    verbs: dict[str, Callable[[argparse.Namespace], int]] = {
        "show": _show,
        "import": _import,
        "export": _export,
    }
    return verbs[arguments.verb](arguments)


def _show(arguments: argparse.Namespace) -> int:
    programs, report = _workload(arguments)
    statistics = statistics_of(programs)
    if arguments.json:
        print_json({**asdict(statistics), "import": asdict(report)})
        return 0
    screen = console(sys.stdout)
    screen.print(statistics_text(statistics))
    screen.print(report_text(report))
    return 0


def _workload(arguments: argparse.Namespace) -> tuple[Programs, ImportReport]:
    """What was typed: a file, or a workload to generate."""
    text: str = arguments.workload
    if is_file_workload(text) or Path(text).exists():
        return read_workload(Path(text), arguments.format, _mapping(arguments.map))
    programs = parse_workload(text, rng_seed=0, read_file=lambda path: read_workload(Path(path))[0])
    return programs, report_of(Tally(calls=len(programs.new_tokens)), "generated")


def _mapping(text: str | None) -> dict[str, str] | None:
    """`arrival=TIMESTAMP,input=ContextTokens` as a mapping."""
    if text is None:
        return None
    pairs = [part.partition("=") for part in text.split(",")]
    if any(not (role and marker and column) for role, marker, column in pairs):
        raise BadRequest(
            f"--map is {text!r}; write ROLE=COLUMN,ROLE=COLUMN, with roles of {', '.join(ROLES)}"
        )
    return {role.strip(): column.strip() for role, _, column in pairs}


def _import(arguments: argparse.Namespace) -> int:
    programs, report = read_workload(Path(arguments.workload), arguments.format, _mapping(arguments.map))
    if arguments.concurrency is not None and arguments.concurrency < 1:
        raise BadRequest(f"--concurrency is {arguments.concurrency}; at least one program runs at a time")
    programs = replace(programs, concurrency=arguments.concurrency or programs.concurrency)
    _write(programs, arguments.to, "parquet", None)
    counts = {"programs": len(programs.arrival_s), "sessions": len(programs.program)}
    if arguments.json:
        print_json({"to": str(arguments.to), **counts, "turns": len(programs.new_tokens), **asdict(report)})
        return 0
    screen = console(sys.stdout)
    screen.print(report_text(report))
    screen.print(
        f"{counts['programs']:,} programs of {counts['sessions']:,} sessions written to {arguments.to}; "
        f"see them: perdure trace show {arguments.to}",
        soft_wrap=True,
    )
    return 0


def _export(arguments: argparse.Namespace) -> int:
    path = Path(arguments.source)
    if path.exists():
        return _export_workload(arguments, path)
    places = read_places()
    address = server_address(arguments.base_url, arguments.api_key, places)
    records = run_calls(arguments.source, places, address)
    if arguments.format in (None, "jsonl"):
        return _export_records(arguments, records)
    programs = programs_of(records, Tally())
    return _written(arguments, programs, arguments.format)


def _export_records(arguments: argparse.Namespace, records: list[CallRecord]) -> int:
    out: Path = arguments.to or Path(f"{arguments.source}.jsonl")
    if str(out) == "-":
        out = Path("/dev/stdout")
    try:
        written = write_records(out, records)
    except OSError as error:
        raise BadRequest(
            f"cannot write {out}: {error.strerror}. Give --out a file in a folder that is there and yours"
        ) from error
    print(
        f"{written} model calls written to {out}; see what they would take elsewhere: perdure estimate {out}",
        file=sys.stderr,
    )
    return 0


def _export_workload(arguments: argparse.Namespace, path: Path) -> int:
    name = arguments.format or ("parquet" if str(arguments.to).endswith(".parquet") else None)
    if name is None:
        raise BadRequest(f"say what to write {path} as: --format parquet, mooncake or llmservingsim")
    if name == "jsonl":
        raise BadRequest(
            "jsonl is what a server recorded of a run's calls, so only a run has it; write a workload with "
            "--format parquet, mooncake or llmservingsim"
        )
    programs, _ = read_workload(path)
    return _written(arguments, programs, name)


def _written(arguments: argparse.Namespace, programs: Programs, name: str) -> int:
    if arguments.to is None:
        raise BadRequest(f"say where to write it: --to FILE.{'parquet' if name == 'parquet' else 'jsonl'}")
    block_tokens: int | None = arguments.block_tokens
    if block_tokens is not None and not 1 <= block_tokens <= BLOCK_TOKENS_MAX:
        raise BadRequest(f"--block-tokens is {block_tokens}; a block has 1 to {BLOCK_TOKENS_MAX} tokens")
    notes = _write(programs, arguments.to, name, block_tokens)
    print(f"{len(programs.new_tokens):,} calls written to {arguments.to}", file=sys.stderr)
    for note in notes:
        print(f"  {note}", file=sys.stderr)
    return 0


def _write(programs: Programs, path: Path, name: str, block_tokens: int | None) -> list[str]:
    if name == "mooncake":
        return write_mooncake(programs, path, block_tokens=block_tokens)
    if name == "llmservingsim":
        return write_llmservingsim(programs, path)
    import_module("perdure.traces.parquet").write_parquet(programs, path)
    return []
