"""`perdure serve` on a bad day: a full disk, a broken folder, two starts at once, TLS."""

import json
import resource
import shutil
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

READY_S_MAX = 30
BLOCK_BYTES = 300_000


def start(home: Path, *options: str, file_bytes_max: int | None = None) -> subprocess.Popen:
    """A server process that announces itself in `home/announced.json`."""

    def limit() -> None:
        if file_bytes_max is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes_max, file_bytes_max))

    announced = home / "announced.json"
    announced.unlink(missing_ok=True)
    command = [sys.executable, "-m", "perdure", "serve", "--model", "scripted", "--port", "0", "--quiet"]
    return subprocess.Popen(
        [*command, "--announce", str(announced), *options],
        preexec_fn=limit,
        stderr=subprocess.PIPE,
        text=True,
    )


def announced(home: Path, process: subprocess.Popen) -> dict:
    for _ in range(READY_S_MAX * 50):
        if (home / "announced.json").is_file():
            return json.loads((home / "announced.json").read_text())
        try:
            process.wait(0.02)
        except subprocess.TimeoutExpired:
            continue
        raise AssertionError(process.stderr.read())
    raise AssertionError("the server never became ready")


def ask(home: Path, base_url: str, text: str, key: str, context: ssl.SSLContext | None = None):
    """Status and parsed body of one chat completion."""
    api_key = json.loads((home / "announced.json").read_text())["api_key"]
    body = {"model": "scripted", "messages": [{"role": "user", "content": text}]}
    request = urllib.request.Request(
        f"{base_url}/chat/completions",
        json.dumps(body).encode(),
        {"authorization": f"Bearer {api_key}", "idempotency-key": key},
    )
    try:
        with urllib.request.urlopen(request, timeout=30, context=context) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, json.load(refused)


def stop(process: subprocess.Popen) -> str:
    process.terminate()
    _, said = process.communicate(timeout=30)
    assert process.returncode == 0, said
    return said


def test_a_full_disk_is_an_answer_of_its_own(own_home: Path) -> None:
    """What cannot be kept as promised is 507 and says so; small answers go on, and the server lives."""
    process = start(own_home, file_bytes_max=BLOCK_BYTES)
    try:
        base_url = announced(own_home, process)["base_url"]
        statuses = [ask(own_home, base_url, "x" * 14_000, f"key-{n}")[0] for n in range(40)]
        assert statuses[0] == 200
        assert 507 in statuses
        status, body = ask(own_home, base_url, "x" * 14_000, "one more")
        assert (status, body["error"]["code"]) == (507, "storage_failed")
        assert "Make room on the disk" in body["error"]["message"]
        said = stop(process)
    finally:
        process.kill()
    assert "Traceback" not in said


def test_a_folder_that_cannot_be_used_is_named(own_home: Path) -> None:
    """Exit 1 and one sentence with the remedy, before anything listens."""
    (own_home / "data").write_text("a file where the folder should be")
    process = start(own_home)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "PERDURE_HOME" in said
    assert "Traceback" not in said


def test_tables_of_a_newer_version_are_left_alone(own_home: Path) -> None:
    """A downgrade says what to do instead of writing into tables that it does not know."""
    import sqlite3

    (own_home / "data").mkdir()
    with sqlite3.connect(own_home / "data" / "server.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    process = start(own_home)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "newer perdure" in said


def test_two_servers_may_start_at_once_on_one_folder(own_home: Path, tmp_path: Path) -> None:
    """`perdure run` starts a server while the user's own may start too: both live, with one table of keys."""
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    processes = [start(folder) for folder in folders]
    try:
        for folder, process in zip(folders, processes, strict=True):
            base_url = announced(folder, process)["base_url"]
            for keys_from in folders[: folders.index(folder) + 1]:
                assert ask(keys_from, base_url, "hello", "key")[0] == 200
        for process in processes:
            stop(process)
    finally:
        for process in processes:
            process.kill()


def test_tls_is_spoken_where_asked(own_home: Path, tmp_path: Path) -> None:
    """With a certificate the address is https, and clients that trust it are answered."""
    if shutil.which("openssl") is None:
        pytest.skip("the openssl program makes the certificate, and it is missing")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-nodes", "-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(cert)),
        ],
        check=True,
        capture_output=True,
    )
    process = start(own_home, "--tls-cert", str(cert), "--tls-key", str(key))
    try:
        base_url = announced(own_home, process)["base_url"]
        assert base_url.startswith("https://127.0.0.1:")
        context = ssl.create_default_context(cafile=str(cert))
        assert ask(own_home, base_url, "hello", "key", context)[0] == 200
        stop(process)
    finally:
        process.kill()


def test_a_broken_certificate_is_named(own_home: Path, tmp_path: Path) -> None:
    """Exit 2 and a sentence, not a traceback."""
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).write_text("no PEM")
    process = start(
        own_home, "--tls-cert", str(tmp_path / "cert.pem"), "--tls-key", str(tmp_path / "key.pem")
    )
    _, said = process.communicate(timeout=30)
    assert process.returncode == 2, said
    assert "cert.pem" in said
    assert "Traceback" not in said
