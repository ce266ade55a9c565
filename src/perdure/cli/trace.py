"""`perdure trace export`: what a run asked of its models, one JSON line a call, without any text."""

import argparse
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from perdure.agents.session import find_server
from perdure.agents.trace import with_tool_times
from perdure.clock import SystemClock
from perdure.config import ClientEnvironment, Places, read_places
from perdure.errors import BadRequest, NotFound
from perdure.journal.store import Journal
from perdure.traces.record import CallRecord, parse_record, write_records

ANSWER_S_MAX = 10.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be typed after `perdure trace`."""
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    export = verbs.add_parser("export", help="write a run's model calls as JSON lines")
    export.add_argument("run_id", help="the run, as `perdure runs` lists it")
    export.add_argument("--out", type=Path, metavar="FILE", help="where (default: RUN_ID.jsonl; - is stdout)")
    export.add_argument(
        "--base-url", metavar="URL", help="the server that served it (default: this machine's records)"
    )
    export.add_argument("--api-key", metavar="KEY", help="its key (default: PERDURE_API_KEY or your own)")


def run(arguments: argparse.Namespace) -> int:
    """Collect the server's records of the run, add the tools' times from the journal, write them."""
    places = read_places()
    with Journal(places.journal_file, clock=SystemClock()) as journal:
        journal.stream(arguments.run_id)
        address = _address(arguments, places)
        records = with_tool_times(
            _recorded(arguments.run_id, places, address), journal.read(arguments.run_id)
        )
    out: Path = arguments.out or Path(f"{arguments.run_id}.jsonl")
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


def recorded_calls(run_id: str, places: Places) -> list[CallRecord]:
    """What the servers of this user's folders recorded of a run, in order; empty when nothing was."""
    files = sorted(places.traces_dir.glob(f"*/{run_id}.jsonl"))
    return [record for path in files for record in _parsed(path.read_bytes(), str(path))]


def _recorded(run_id: str, places: Places, address: ClientEnvironment | None) -> list[CallRecord]:
    records = [] if address is not None else recorded_calls(run_id, places)
    if not records:
        address = address or find_server(places)
        if address is not None:
            records = _fetched(run_id, address)
    if not records:
        raise NotFound(
            f"no model call of {run_id} was recorded on this machine. If another server ran its model, name "
            f"it: perdure trace export {run_id} --base-url URL"
        )
    return records


def _fetched(run_id: str, address: ClientEnvironment) -> list[CallRecord]:
    url = f"{(address.base_url or '').rstrip('/')}/perdure/traces/{urllib.parse.quote(run_id)}"
    request = urllib.request.Request(url)
    if address.api_key:
        request.add_header("authorization", f"Bearer {address.api_key}")
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_S_MAX) as answer:
            return _parsed(answer.read(), url)
    except (urllib.error.URLError, OSError):
        return []


def _parsed(lines: bytes, place: str) -> list[CallRecord]:
    """The whole lines of a record file; a last line that is being written, or was torn, is left out."""
    return [
        parse_record(line, place=f"line {number} of {place}")
        for number, line in enumerate(lines.splitlines(), start=1)
        if line.startswith(b"{") and line.endswith(b"}")
    ]


def _address(arguments: argparse.Namespace, places: Places) -> ClientEnvironment | None:
    if arguments.base_url is None:
        return None
    known = find_server(places)
    return ClientEnvironment(
        base_url=arguments.base_url, api_key=arguments.api_key or (known.api_key if known else None)
    )
