"""The wheel that users install: built, put into a clean environment, and asked."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import uv

import perdure

ROOT = Path(perdure.__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `perdure` command of a clean environment that holds the built wheel and the locked dependencies."""
    folder = tmp_path_factory.mktemp("wheel")
    tool = uv.find_uv_bin()
    python = folder / "venv" / "bin" / "python"
    for words in (
        ["build", "--wheel", "--out-dir", str(folder), str(ROOT)],
        ["venv", "--python", sys.executable, str(folder / "venv")],
        [
            "pip",
            "install",
            "--python",
            str(python),
            "--require-hashes",
            "-r",
            str(ROOT / "requirements/run.lock"),
        ],
    ):
        subprocess.run([tool, *words], check=True, capture_output=True)
    wheel = next(folder.glob("*.whl"))
    subprocess.run([tool, "pip", "install", "--python", str(python), "--no-deps", str(wheel)], check=True)
    return folder / "venv" / "bin" / "perdure"


@pytest.fixture
def serving(installed: Path, tmp_path: Path) -> Iterator[dict[str, str]]:
    announce = tmp_path / "announce"
    words = [
        str(installed),
        "serve",
        "--model",
        "scripted",
        "--port",
        "0",
        "--announce",
        str(announce),
        "--quiet",
    ]
    env = {**os.environ, "PERDURE_HOME": str(tmp_path / "home")}
    with subprocess.Popen([*words, "--parent-pid", str(os.getpid())], env=env) as process:
        try:
            for _ in range(600):
                if announce.exists():
                    break
                assert process.poll() is None
                time.sleep(0.05)
            said = json.loads(announce.read_text())
            yield {"base_url": said["base_url"], "key": said["api_key"]}
        finally:
            process.terminate()


def test_the_wheel_serves_and_answers(serving: dict[str, str]) -> None:
    """`perdure serve` from the installed wheel answers a chat completion."""
    body = {"model": "scripted", "messages": [{"role": "user", "content": "hello"}]}
    request = urllib.request.Request(
        f"{serving['base_url']}/chat/completions",
        data=json.dumps(body).encode(),
        headers={"authorization": f"Bearer {serving['key']}", "content-type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        said = json.load(answer)
    assert said["choices"][0]["message"]["content"]
    assert said["usage"]["prompt_tokens"] > 0


def test_the_wheel_carries_what_it_needs(installed: Path) -> None:
    """The catalogue, the demo's example and the type marker are in the wheel."""
    code = (
        "import perdure, pathlib; from perdure.catalog.load import load_catalog;"
        "from perdure.cli.demo import example;"
        "print(load_catalog().chip('nvidia-h200') is not None, example('kernel_tuning').is_file(),"
        " (pathlib.Path(perdure.__file__).parent / 'py.typed').is_file())"
    )
    python = installed.parent / "python"
    ended = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert ended.stdout.split() == ["True", "True", "True"]
