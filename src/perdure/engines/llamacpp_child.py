"""What runs in the child process: llama.cpp's server, on loopback, until the parent ends.

Either the server inside the xllamacpp wheel (settings come as one JSON line on standard input, the address
goes out as one JSON line), or, with `--exec`, any other `llama-server` program, which takes our place.
"""

import importlib
import os
import signal
import sys
from typing import Any, TextIO

import msgspec

from perdure.processes import die_with_parent


class ChildSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the server in the child is started with.

    window_tokens  of each slot; the whole context is this times `slots`
    """

    model_file: str
    window_tokens: int
    slots: int
    threads: int
    api_key: str


class ChildAddress(msgspec.Struct, frozen=True, kw_only=True):
    """What the child says once it can answer."""

    url: str


def main(argv: list[str]) -> None:
    """`PARENT_PID`, then nothing or `--exec PROGRAM ARGUMENTS...`."""
    die_with_parent(int(argv[0]))
    if argv[1:2] == ["--exec"]:
        try:
            os.execv(argv[2], argv[2:])
        except OSError as error:
            sys.exit(f"{argv[2]} cannot be run: {error.strerror}")
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever native code prints goes to the log
    settings = msgspec.json.decode(sys.stdin.readline(), type=ChildSettings)
    _serve(settings, out)


def _serve(settings: ChildSettings, out: TextIO) -> None:
    # Loads libgomp and 100 MB of native code, which only the child needs; it has no type stubs.
    xllamacpp: Any = importlib.import_module("xllamacpp")
    params = xllamacpp.CommonParams()
    params.model.path = settings.model_file
    params.n_ctx = settings.window_tokens * settings.slots
    params.n_parallel = settings.slots
    params.kv_unified = False  # a shared pool would let one request starve another
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [settings.api_key]
    params.cpuparams.n_threads = settings.threads
    params.cpuparams_batch.n_threads = settings.threads
    params.cache_ram_mib = 0  # ggml-org/llama.cpp #27148: it can restore somebody else's conversation
    params.ctx_shift = False  # it would drop the middle of a prompt without a word
    params.fit_params = False  # it would shrink the window without a word
    params.verbosity = 1  # errors only: no prompt may reach the log
    params.ui = False
    server = xllamacpp.Server(params)
    url = str(server.listening_address)
    print(msgspec.json.encode(ChildAddress(url=url)).decode(), file=out, flush=True)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C in the terminal is the parent's to handle
    while True:
        signal.pause()


if __name__ == "__main__":
    main(sys.argv[1:])
