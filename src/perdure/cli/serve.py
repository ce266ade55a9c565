"""How `perdure serve` starts: which model, which address, whose key, and what it says when it is ready."""

import argparse
import asyncio
import ipaddress
import logging
import os
import shlex
import signal
import socket
import ssl
import sys
from pathlib import Path

import msgspec
import uvloop

from perdure.cli.models import obtain
from perdure.clock import Clock, SystemClock
from perdure.config import Places, read_places
from perdure.engines.engine import Engine
from perdure.engines.llamacpp import LlamaCpp
from perdure.engines.scripted import ScriptedEngine
from perdure.errors import BadRequest
from perdure.platform.client_file import ClientFile, read_client_file, write_client_file
from perdure.platform.platform import WORKSPACE, Platform
from perdure.platform.secret_file import replace_private
from perdure.platform.server import Tls, bind, serve
from perdure.processes import die_with_parent
from perdure.version import __version__

DEFAULT_MODEL = "smollm2-135m"
DEFAULT_PORT = 8000
DEFAULT_SLOTS = 2

_ANNOUNCE = "once ready, write address, key, model and pid to FILE (0600), not to what `perdure env` reads"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--model", default=DEFAULT_MODEL, help="a model by name, file:PATH.gguf, hf:OWNER/REPO, or scripted")
    add("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    add(
        "--port",
        type=int,
        default=DEFAULT_PORT,
        help="port to listen on; 0 takes any free one (default: 8000)",
    )
    add(
        "--window",
        type=_count,
        metavar="TOKENS",
        help="prompt and answer of one request (default: the model's)",
    )
    add("--slots", type=_count, default=DEFAULT_SLOTS, help="requests that run at once (default: 2)")
    add("--threads", type=_count, help="cores for the model (default: all that this process may use)")
    add("--llama-server", type=Path, metavar="PROGRAM", help="another llama-server than the one built in")
    add("--tls-cert", type=Path, metavar="FILE", help="certificate chain (PEM), to serve https")
    add("--tls-key", type=Path, metavar="FILE", help="private key of the certificate (PEM)")
    add("--insecure", action="store_true", help="listen beyond this machine without TLS")
    add("--yes", action="store_true", help="fetch a missing model without asking")
    add("--quiet", action="store_true", help="no banner and no line per request")
    add("--announce", type=Path, metavar="FILE", help=_ANNOUNCE)
    add("--parent-pid", type=int, metavar="PID", help="end when the process PID ends")


def _count(text: str) -> int:
    """A whole number from 1 up, for argparse."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no count; give a whole number, 1 or more")
    return number


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT; 130 when one comes while the model is still being checked or fetched."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        print("perdure serve: stopped before it was ready", file=sys.stderr)
        return 130


def _run(arguments: argparse.Namespace) -> int:
    if arguments.parent_pid is not None:
        die_with_parent(arguments.parent_pid)
    _log_to_stderr(quiet=arguments.quiet)
    tls = _tls(arguments)
    _refuse_open_door(arguments.host, tls=tls, insecure=arguments.insecure)
    clock, places = SystemClock(), read_places()
    engine = _engine(arguments, places, clock)
    listening = bind(arguments.host, arguments.port)
    platform = Platform(engines=[engine], places=places, clock=clock)
    base_url = _base_url(arguments.host, listening, tls)

    def on_ready() -> None:
        client = ClientFile(base_url=base_url, api_key=_owners_key(platform, places), model=engine.card.id)
        if arguments.announce is None:
            write_client_file(places.client_file, client)
        else:
            _announce(arguments.announce, client)
        if not arguments.quiet:
            print(_banner(engine, base_url), flush=True)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(platform, [listening], on_ready=on_ready, tls=tls))
    return 0


def is_scripted(model: str) -> bool:
    """Whether `model` names the engine that needs no file: `scripted`, or `scripted:SECONDS_PER_TOKEN`."""
    return model == "scripted" or model.startswith("scripted:")


def _engine(arguments: argparse.Namespace, places: Places, clock: Clock) -> Engine:
    model: str = arguments.model
    if is_scripted(model):
        return ScriptedEngine(clock=clock, slots=arguments.slots, delay_s=_delay_s(model))
    file = obtain(model, places, yes=arguments.yes)
    return LlamaCpp(
        model_file=file.path,
        model_id=model,
        window_tokens=arguments.window,
        slots=arguments.slots,
        threads=arguments.threads,
        llama_server=arguments.llama_server,
        clock=clock,
    )


def _delay_s(model: str) -> float:
    """`scripted:0.05` is an engine that takes 0.05 seconds for a token."""
    seconds = model.partition(":")[2]
    try:
        return float(seconds or 0)
    except ValueError as error:
        raise BadRequest(f"--model {model}: give seconds per token, as in scripted:0.05") from error


def _tls(arguments: argparse.Namespace) -> Tls | None:
    cert, key = arguments.tls_cert, arguments.tls_key
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise BadRequest("--tls-cert and --tls-key go together; give both")
    for file in (cert, key):
        if not file.is_file():
            raise BadRequest(f"there is no file {file}; give the PEM files of your certificate and its key")
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(cert, key)
    except (ssl.SSLError, OSError) as error:
        raise BadRequest(
            f"{cert} and {key} cannot serve TLS ({error}); give a certificate chain and its key, both PEM"
        ) from error
    return Tls(cert=cert, key=key)


def _refuse_open_door(host: str, *, tls: Tls | None, insecure: bool) -> None:
    if tls is not None or insecure or _is_loopback(host):
        return
    raise BadRequest(
        f"--host {host} would send keys and prompts over the network in the clear. Give a certificate: "
        f"perdure serve --host {host} --tls-cert cert.pem --tls-key key.pem; or, where the network is yours "
        f"alone, accept it: perdure serve --host {host} --insecure"
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _base_url(host: str, listening: socket.socket, tls: Tls | None) -> str:
    """Where clients on this machine find the server."""
    port = listening.getsockname()[1]
    near = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"{'http' if tls is None else 'https'}://{near}:{port}/v1"


def _owners_key(platform: Platform, places: Places) -> str:
    """A key that is good here: the one that the owner has, else a new one."""
    known = read_client_file(places.client_file)
    if known is not None and platform.keys.owns(known.api_key):
        return known.api_key
    return platform.keys.make(WORKSPACE)


def _announce(path: Path, client: ClientFile) -> None:
    said = {
        "base_url": client.base_url,
        "api_key": client.api_key,
        "pid": os.getpid(),
        "model": client.model,
    }
    replace_private(path, msgspec.json.encode(said).decode() + "\n")


def _banner(engine: Engine, base_url: str) -> str:
    card = engine.card
    program = shlex.quote(sys.argv[0])
    body = f'{{"model": "{card.id}", "messages": [{{"role": "user", "content": "Hello"}}]}}'
    room = f"{card.window_tokens:,} tokens per request, {card.slots} requests at once"
    return f"""perdure {__version__}
  model     {card.id} ({card.engine}): {room}
  address   {base_url}
  key       `{program} env` prints it, and the address, for your shell
  try       eval "$({program} env)"; curl -s $OPENAI_BASE_URL/chat/completions \\
              -H "Authorization: Bearer $OPENAI_API_KEY" -H "Content-Type: application/json" \\
              -d '{body}'
  stop      Ctrl-C"""


def _log_to_stderr(*, quiet: bool) -> None:
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.WARNING if quiet else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
