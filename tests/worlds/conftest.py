"""The server that the worlds talk to."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True, kw_only=True)
class ScriptedServer:
    """Where scripted_server.py listens, and a key that is good there."""

    base_url: str
    key: str


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScriptedServer]:
    """A server of ours in a process of its own, with a scripted model."""
    folder = tmp_path_factory.mktemp("server")
    announce = folder / "announce"
    words = [sys.executable, str(Path(__file__).parent / "scripted_server.py"), str(folder), str(announce)]
    with subprocess.Popen([*words, str(os.getpid())], stderr=subprocess.DEVNULL) as server:
        try:
            for _ in range(600):
                if announce.exists():
                    break
                assert server.poll() is None
                time.sleep(0.05)
            said = json.loads(announce.read_text())
            yield ScriptedServer(base_url=said["base_url"], key=said["api_key"])
        finally:
            server.terminate()
