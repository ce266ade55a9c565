"""Which model calls a run made: the records of a server, here or over HTTP, and how long its tools ran."""

import urllib.error
import urllib.parse
import urllib.request

from perdure.agents.session import find_server
from perdure.agents.trace import with_tool_times
from perdure.clock import SystemClock
from perdure.config import ClientEnvironment, Places
from perdure.errors import NotFound
from perdure.journal.store import Journal
from perdure.traces.record import CallRecord, parse_record

ANSWER_S_MAX = 10.0


def run_calls(run_id: str, places: Places, address: ClientEnvironment | None) -> list[CallRecord]:
    """The calls of a run of this user, in order; raises NotFound when nobody recorded any.

    address  the server that served it, where that is not one of this machine's
    """
    with Journal(places.journal_file, clock=SystemClock()) as journal:
        journal.stream(run_id)
        return with_tool_times(_recorded(run_id, places, address), journal.read(run_id))


def recorded_calls(run_id: str, places: Places) -> list[CallRecord]:
    """What the servers of this user's folders recorded of a run, in order; empty when nothing was."""
    files = sorted(places.traces_dir.glob(f"*/{run_id}.jsonl"))
    return [record for path in files for record in _parsed(path.read_bytes(), str(path))]


def server_address(base_url: str | None, api_key: str | None, places: Places) -> ClientEnvironment | None:
    """The server that was typed, with the user's own key where none was; None where none was typed."""
    if base_url is None:
        return None
    known = find_server(places)
    return ClientEnvironment(base_url=base_url, api_key=api_key or (known.api_key if known else None))


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
