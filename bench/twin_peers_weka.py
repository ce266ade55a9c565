"""Coding-agent sessions as AISimulate reads them: the kv-cache-tester files, with every model declared.

It refuses a whole corpus for one session that uses a model which it does not declare (12 of the 355 do: their
sub-agents run on a smaller one). Nothing else is changed.
"""

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def write_declared(archive: Path, folder: Path) -> int:
    """Unpack `archive` into `folder`, a file a session; returns how many lacked a model."""
    folder.mkdir(parents=True, exist_ok=True)
    lacking = 0
    with tarfile.open(archive) as sessions:
        for member in sessions:
            content = sessions.extractfile(member) if member.isfile() else None
            if content is None:
                continue
            text = content.read()
            session = json.loads(text)
            declared, used = set(session["models"]), set(models_used(session["requests"]))
            if not used <= declared:
                lacking += 1
                text = json.dumps({**session, "models": sorted(declared | used)}).encode()
            (folder / Path(member.name).name).write_bytes(text)
    return lacking


def models_used(requests: list[dict[str, Any]]) -> Iterator[str]:
    """The models of calls, sub-agents' calls among them."""
    for request in requests:
        if "model" in request:
            yield request["model"]
        yield from models_used(request.get("requests", []))
