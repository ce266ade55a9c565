"""`perdure serve` and `perdure env` as a person starts them, in processes of their own."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import openai
import pytest
from tests.tiny_gguf import gguf

SERVE = (sys.executable, "-m", "perdure", "serve", "--model", "scripted:0.02")
HELLO = {"model": "scripted", "messages": [{"role": "user", "content": "Hello there, you over there"}]}
LONG = {**HELLO, "messages": [{"role": "user", "content": "long " * 200}]}  # five seconds
READY_S_MAX = 30


@contextmanager
def server(home: Path, *options: str):
    """A server process, ready, what it announced, and the file of its output; ended with the block."""
    announced, output = home / "announced.json", home / "output.txt"
    announced.unlink(missing_ok=True)
    with output.open("wb") as out:
        command = [*SERVE, "--port", "0", "--announce", str(announced), *options]
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
    try:
        wait_for(announced, process, output)
        yield process, json.loads(announced.read_text()), output
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def wait_for(announced: Path, process: subprocess.Popen, output: Path) -> None:
    wait_until(announced.is_file, process, output)


def wait_until(ready: Callable[[], bool], process: subprocess.Popen, output: Path) -> None:
    for _ in range(READY_S_MAX * 50):
        if ready():
            return
        assert process.poll() is None, output.read_text()
        try:
            process.wait(0.02)
        except subprocess.TimeoutExpired:
            continue
    raise AssertionError(output.read_text())


def api_key(home: Path) -> str:
    return json.loads((home / "announced.json").read_text())["api_key"]


@contextmanager
def own_server(home: Path, *options: str):
    """A server as its owner starts it, without `--announce`: what is in the client file, and its output."""
    client, output = home / "config" / "client.json", home / "output.txt"
    before = client.stat().st_ino if client.is_file() else None
    with output.open("wb") as out:
        process = subprocess.Popen([*SERVE, "--port", "0", *options], stdout=out, stderr=subprocess.STDOUT)
    try:
        wait_until(lambda: client.is_file() and client.stat().st_ino != before, process, output)
        yield json.loads(client.read_text()), output
    finally:
        process.kill()
        process.wait()


def run(*words: str, code: int) -> str:
    """What a command that ends by itself says."""
    done = subprocess.run(
        [sys.executable, "-m", "perdure", *words], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_first_start_makes_a_key_for_its_owner(own_home):
    """The key works, lies in a 0600 file, is kept by the next start, and is never printed."""
    with own_server(own_home) as (said, output):
        key = said["api_key"]
        with openai.OpenAI(base_url=said["base_url"], api_key=key) as client:
            assert client.chat.completions.create(**HELLO).choices[0].finish_reason == "stop"
        assert said["model"] == "scripted"
        assert key not in output.read_text()
        exports = run("env", code=0).splitlines()
        assert f"export OPENAI_API_KEY={key}" in exports
        assert f"export PERDURE_BASE_URL={said['base_url']}" in exports
        assert "nothing answers" not in "".join(exports)
    assert (own_home / "config" / "client.json").stat().st_mode & 0o777 == 0o600
    with own_server(own_home) as (again, _):
        assert again["api_key"] == key


def test_env_says_when_nothing_answers(own_home):
    """After the server has ended its exports still come, and standard error says so and how to start one."""
    with own_server(own_home) as (said, _):
        pass
    output = run("env", code=0)
    assert f"export OPENAI_API_KEY={said['api_key']}" in output
    assert f"nothing answers at {said['base_url']}" in output
    assert "perdure serve --model scripted" in output


def test_an_announced_server_leaves_the_owners_file_alone(own_home):
    """Address and key stand in the file it was told, for its starter; the owner's key is used if any."""
    client_file = own_home / "config" / "client.json"
    with server(own_home) as (_, said, output):
        with openai.OpenAI(base_url=said["base_url"], api_key=said["api_key"]) as client:
            assert [model.id for model in client.models.list()] == ["scripted"]
        assert said["api_key"] not in output.read_text()
    assert (own_home / "announced.json").stat().st_mode & 0o777 == 0o600
    assert not client_file.exists()
    with own_server(own_home) as (own, _):
        pass
    before = client_file.read_bytes()
    with server(own_home) as (_, said, _):
        assert said["api_key"] == own["api_key"]
    assert client_file.read_bytes() == before


def test_the_banner_says_what_a_client_needs(own_home):
    """Model, room, requests at once, address, and a line to try."""
    with server(own_home, "--slots", "3") as (_, said, output):
        banner = output.read_text()
    assert "4,096 tokens per request, 3 requests at once" in banner
    assert said["base_url"] in banner
    assert "curl -s $OPENAI_BASE_URL/chat/completions" in banner


def test_env_before_any_server_says_what_to_do(own_home):
    """No client file is exit 2 and names the command."""
    assert "perdure serve" in run("env", code=2)


def test_a_port_in_use_is_named(own_home):
    """Exit 2 with the port and a command with another one."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = run("serve", "--model", "scripted", "--port", str(port), code=2)
    assert f"port {port} on 127.0.0.1 is in use" in said
    assert f"perdure serve --port {port + 1}" in said


@pytest.mark.parametrize("host", ["0.0.0.0", "example.org"])
def test_an_open_door_is_refused(own_home, host):
    """Beyond this machine only with TLS or --insecure; the message has both commands."""
    said = run("serve", "--model", "scripted", "--host", host, code=2)
    assert f"perdure serve --host {host} --tls-cert cert.pem --tls-key key.pem" in said
    assert f"perdure serve --host {host} --insecure" in said


def test_a_model_file_that_is_none_is_named(own_home):
    """Exit 1 and what to do, before anything listens."""
    broken = own_home / "broken.gguf"
    broken.write_bytes(b"GGUF and then nothing of the kind")
    said = run("serve", "--model", f"file:{broken}", "--port", "0", code=1)
    assert str(broken) in said
    assert "Traceback" not in said


def test_a_missing_model_is_offered(own_home):
    """A script is told size, licence and the two commands; nothing is fetched unasked."""
    said = run("serve", code=2)
    assert "98.4 MB" in said
    assert "Apache-2.0" in said
    assert "perdure models pull smollm2-135m" in said
    assert "--yes" in said


@pytest.mark.parametrize(
    "words, said",
    [
        (("--port", "70000"), "1 to 65535"),
        (("--tls-cert", "/nowhere/cert.pem", "--tls-key", "/nowhere/key.pem"), "there is no file"),
        (("--model", "scripted:soon"), "seconds per token"),
        (("--slots", "0"), "--slots"),
        (("--slots", "abc"), "'abc' is no count; give a whole number, 1 or more"),
    ],
)
def test_a_wrong_option_is_named(own_home, words, said):
    """Exit 2 and one sentence, no traceback."""
    output = run("serve", "--model", "scripted", *words, code=2)
    assert said in output
    assert "Traceback" not in output


async def test_sigterm_lets_running_answers_finish(own_home):
    """After SIGTERM new requests get 503 with retry-after, the running one ends whole, the exit code is 0."""
    with server(own_home) as (process, said, _):
        async with openai.AsyncOpenAI(
            base_url=said["base_url"], api_key=api_key(own_home), max_retries=0
        ) as client:
            stream = await client.chat.completions.create(**LONG, stream=True)
            chunks = [await anext(stream)]
            process.send_signal(signal.SIGTERM)
            refused = await _refused(client)
            chunks.extend([chunk async for chunk in stream])
        assert refused.status_code == 503
        assert "retry-after" in refused.headers
        assert chunks[-1].choices[0].finish_reason == "stop"
        assert await asyncio.to_thread(process.wait, 20) == 0


async def _refused(client: openai.AsyncOpenAI):
    """The answer that a draining server gives; a request may still slip in before it has the signal."""
    for _ in range(200):
        try:
            await client.models.list()
        except openai.APIStatusError as error:
            return error.response
    raise AssertionError("the server never refused")


async def test_a_draining_server_says_what_it_waits_for(own_home):
    """While an answer is being finished, /readyz is 503 and counts it."""
    with server(own_home) as (process, said, _):
        async with openai.AsyncOpenAI(
            base_url=said["base_url"], api_key=api_key(own_home), max_retries=0
        ) as client:
            stream = await client.chat.completions.create(**LONG, stream=True)
            await anext(stream)
            process.send_signal(signal.SIGTERM)
            await _refused(client)
            async with (
                aiohttp.ClientSession() as http,
                http.get(said["base_url"].replace("/v1", "/readyz")) as unready,
            ):
                assert unready.status == 503
                assert await unready.json() == {"status": "draining", "running_requests": 1}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_it_is_ready_ends_server_and_engine(own_home, number):
    """A model that loads forever: the exit is clean, and the engine's process is gone."""
    model, engine, started = own_home / "m.gguf", own_home / "llama-server", own_home / "engine.pid"
    model.write_bytes(gguf())
    engine.write_text(f"#!/bin/sh\necho $$ > {started}.part\nmv {started}.part {started}\nexec sleep 600\n")
    engine.chmod(0o755)
    output = own_home / "output.txt"
    words = [*SERVE[:-1], f"file:{model}", "--port", "0", "--llama-server", str(engine)]
    with output.open("wb") as out:
        process = subprocess.Popen(words, stdout=out, stderr=subprocess.STDOUT)
    try:
        wait_for(started, process, output)
        process.send_signal(number)
        assert process.wait(20) == 0, output.read_text()
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in output.read_text()
    child = int(started.read_text())
    assert not Path(f"/proc/{child}").exists() or _is_zombie(child)


async def test_a_second_signal_ends_at_once(own_home):
    """Whoever presses Ctrl-C twice does not wait for a long answer; its client sees an error, not silence."""
    long = {**HELLO, "messages": [{"role": "user", "content": "long " * 2000}]}
    with server(own_home) as (process, said, _):
        async with openai.AsyncOpenAI(
            base_url=said["base_url"], api_key=api_key(own_home), max_retries=0
        ) as client:
            stream = await client.chat.completions.create(**long, stream=True)
            await anext(stream)
            process.send_signal(signal.SIGINT)
            await _refused(client)
            process.send_signal(signal.SIGINT)
            heard: list[object] = []
            with pytest.raises(openai.APIError, match="ask again"):
                await _exhaust(stream, heard)
        assert len(heard) < 1000, "the whole drain time went by: 50 tokens come in a second"
        assert await asyncio.to_thread(process.wait, 20) == 0


async def _exhaust(stream, heard: list[object]) -> None:
    async for chunk in stream:
        heard += [chunk]


async def test_a_killed_server_forgets_nothing_finished(own_home):
    """After `kill -9`, a finished answer is replayed and a cut one is tried again."""
    keyed = {"extra_headers": {"idempotency-key": "one"}}
    cut = {"extra_headers": {"idempotency-key": "two"}}
    with server(own_home) as (process, said, _):
        async with openai.AsyncOpenAI(
            base_url=said["base_url"], api_key=api_key(own_home), max_retries=0
        ) as client:
            first = await client.chat.completions.create(**HELLO, **keyed)
            stream = await client.chat.completions.create(**LONG, **cut, stream=True)
            await anext(stream)
            process.kill()
            with pytest.raises(openai.APIConnectionError):
                await _exhaust(stream, [])
    with server(own_home) as (_, said, _):
        async with openai.AsyncOpenAI(base_url=said["base_url"], api_key=api_key(own_home)) as client:
            assert await client.chat.completions.create(**HELLO, **keyed) == first
            again = await client.chat.completions.with_raw_response.create(**LONG, **cut, stream=True)
            assert "x-perdure-replayed" not in again.headers
    lines = (own_home / "data" / "traces" / "default" / "unnamed.jsonl").read_bytes().splitlines()
    assert json.loads(lines[0])["reason"] == "stop"


def test_serving_loads_no_numeric_library():
    """The gateway starts quickly: numpy and numba belong to the twin, not to it."""
    asked = "import sys, perdure.cli.serve; print(sorted({'numpy', 'numba', 'openai'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_server_ends_with_the_process_it_was_started_for(own_home):
    """`--parent-pid` leaves no server behind when its starter is killed."""
    starter = (
        "import subprocess, sys, os\n"
        f"child = subprocess.Popen([*{SERVE!r}, '--port', '0', '--quiet', '--announce', sys.argv[1],"
        " '--parent-pid', str(os.getpid())])\n"
        "print(child.pid, flush=True)\n"
        "child.wait()\n"
    )
    announced = own_home / "announced.json"
    with subprocess.Popen(
        [sys.executable, "-c", starter, str(announced)], stdout=subprocess.PIPE, text=True
    ) as parent:
        child = int(parent.stdout.readline())
        wait_for(announced, parent, announced)
        parent.kill()
    for _ in range(1000):
        if not Path(f"/proc/{child}").exists() or _is_zombie(child):
            return
        os.sched_yield()
        subprocess.run(["sleep", "0.02"], check=True)
    raise AssertionError(f"process {child} outlived its parent")


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
