"""How one llama.cpp server process is started, and how it is ended."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec

from perdure.clock import Clock
from perdure.config import child_environment
from perdure.engines.llamacpp_child import ChildAddress, ChildSettings
from perdure.engines.llamacpp_http import LlamaHttp
from perdure.errors import BadRequest, EngineFailed
from perdure.processes import ProcessId, end, identify

START_SECONDS_MAX = 600.0  # a big model on a slow disk
HEALTH_POLL_S = 0.05
LOG_TAIL_BYTES = 1200

# libgomp's threads spin while they wait, which is ruinous when cores are shared; it reads these at load.
QUIET_THREADS = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerPlan:
    """Which server to start, and how; `program` is another `llama-server`, or None for the one we ship."""

    settings: ChildSettings
    program: Path | None
    log_file: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A server process that can answer."""

    process: asyncio.subprocess.Process
    identity: ProcessId
    http: LlamaHttp


async def launch(plan: ServerPlan, clock: Clock) -> Child:
    """Start a server and return once it can answer; raises EngineFailed when it ends or hangs instead."""
    log_bytes = plan.log_file.stat().st_size if plan.log_file.exists() else 0
    port = _free_port() if plan.program is not None else None
    process = await _spawn(plan, port)
    http: LlamaHttp | None = None
    try:
        async with asyncio.timeout(START_SECONDS_MAX):
            url = await _announced(process) if port is None else f"http://127.0.0.1:{port}"
            if url is not None:
                http = LlamaHttp(url, plan.settings.api_key)
                await _until_healthy(http, process, clock)
        identity = identify(process.pid)
        if http is None or identity is None or process.returncode is not None:
            await process.wait()
            raise _no_start(plan, process, said=plan.log_file.stat().st_size > log_bytes)
        return Child(process=process, identity=identity, http=http)
    except BaseException as error:
        if http is not None:
            await http.close()
        await _kill(process)
        if isinstance(error, TimeoutError):
            raise EngineFailed(
                f"llama.cpp did not answer within {START_SECONDS_MAX:.0f} s of its start"
            ) from error
        raise


def check_program(program: Path | None) -> None:
    """Raise BadRequest unless `program` is one that we can start; None is our own."""
    if program is None or (program.is_file() and os.access(program, os.X_OK)):
        return
    what = "is not a program that we may run" if program.exists() else "does not exist"
    raise BadRequest(
        f"{program} {what}. Give --llama-server the path of a llama-server, or leave it out for our own",
        param="llama_server",
    )


def _no_start(plan: ServerPlan, process: asyncio.subprocess.Process, *, said: bool) -> EngineFailed:
    if plan.program is not None and not said:
        return EngineFailed(
            f"{plan.program} {ending(process)} before it answered, and said nothing. Is it a llama-server? "
            "Leave --llama-server out for our own"
        )
    name = "llama.cpp" if plan.program is None else str(plan.program)
    return EngineFailed(
        f"{name} could not start: it {ending(process)}. If memory is short, a smaller --window or "
        f"fewer --slots need less. {log_tail(plan.log_file)}"
    )


async def end_child(child: Child) -> None:
    """End exactly that process, and wait until it is gone."""
    await child.http.close()
    end(child.identity)
    await child.process.wait()


def ending(process: asyncio.subprocess.Process) -> str:
    """How a process ended, for a sentence that begins with what it is."""
    code = process.returncode
    if code is None:
        return "still runs"
    if code >= 0:
        return f"ended with exit code {code}"
    with contextlib.suppress(ValueError):
        name = signal.Signals(-code).name
        hint = " (often: out of memory)" if name == "SIGKILL" else ""
        return f"was ended by {name}{hint}"
    return f"was ended by signal {-code}"


def log_tail(log_file: Path) -> str:
    """The last lines of the server's log, as a sentence."""
    try:
        with log_file.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - LOG_TAIL_BYTES))
            text = file.read().decode(errors="replace").strip()
    except OSError:
        text = ""
    return f"Its log ends:\n{text}" if text else "It left no log."


async def _spawn(plan: ServerPlan, port: int | None) -> asyncio.subprocess.Process:
    argv = [sys.executable, "-m", "perdure.engines.llamacpp_child", str(os.getpid())]
    extra = dict(QUIET_THREADS)
    if plan.program is not None and port is not None:
        extra["LLAMA_API_KEY"] = plan.settings.api_key  # not an argument: `ps` shows those to everybody
        argv += ["--exec", str(plan.program), *stock_arguments(plan.settings, port)]
    with plan.log_file.open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE if plan.program is None else log,
            stderr=log,
            env=child_environment(extra),
            start_new_session=True,  # Ctrl-C in the terminal is for us; we end the child in our own time
        )
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(msgspec.json.encode(plan.settings) + b"\n")
        await process.stdin.drain()
    process.stdin.close()
    return process


def stock_arguments(settings: ChildSettings, port: int) -> list[str]:
    """What any `llama-server` is told, so that it behaves like the one we ship."""
    return [
        *("--model", settings.model_file),
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--ctx-size", str(settings.window_tokens * settings.slots)),
        *("--parallel", str(settings.slots)),
        *("--threads", str(settings.threads), "--threads-batch", str(settings.threads)),
        *("--cache-ram", "0"),  # ggml-org/llama.cpp #27148: it can restore somebody else's conversation
        "--no-context-shift",
        "--jinja",
        *("--log-verbosity", "1"),
    ]


async def _announced(process: asyncio.subprocess.Process) -> str | None:
    """The address that our own child prints, or None when it ends without one."""
    assert process.stdout is not None
    line = await process.stdout.readline()
    return msgspec.json.decode(line, type=ChildAddress).url if line else None


async def _until_healthy(http: LlamaHttp, process: asyncio.subprocess.Process, clock: Clock) -> None:
    while process.returncode is None and not await http.healthy():
        await clock.sleep(HEALTH_POLL_S)


async def _kill(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    await process.wait()


def _free_port() -> int:
    """A port that is free now; somebody may take it first, and then the server does not start."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
