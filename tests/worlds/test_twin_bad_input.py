"""What is wrong with what `perdure simulate` is given is said, or counted; never silently answered."""

import json
from pathlib import Path

import pytest

from perdure.cli.main import main

FLEET = "h200/llama-3.1-8b"
LINES = [
    {"timestamp": 0, "input_length": 100, "output_length": 5, "hash_ids": [1]},
    {"timestamp": 1000, "input_length": 100, "output_length": -5, "hash_ids": [1]},
    {"timestamp": 500, "input_length": 600, "output_length": 5, "hash_ids": [1, 2]},
    {"timestamp": 2000, "input_length": 400_000, "output_length": 5, "hash_ids": list(range(3, 785))},
]


def test_damage_is_repaired_and_counted_and_what_is_too_long_has_its_outcome(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """A time that goes backwards, a negative length, and a context over the window: each is in the JSON."""
    file = tmp_path / "trace.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in LINES), encoding="utf-8")
    assert main(["simulate", "--workload", str(file), "--on", FLEET, "--draws", "0", "--json"]) == 0
    printed = json.loads(capsysbinary.readouterr().out)
    assert sorted(printed["repairs"].values()) == [1, 1]
    assert printed["outcomes"] == {"too_long": 1}


@pytest.mark.parametrize(
    "arguments,said",
    [
        (["--on", "rtx-4090/llama-3.1-70b"], "does not fit"),
        (["--on", FLEET, "--order", "{file}:broken"], "mine.py:2"),
        (["--on", FLEET, "--order", "{file}:letters"], "mine.py"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    """A deployment that cannot fit, a policy that raises, and one that is no arithmetic."""
    file = tmp_path / "mine.py"
    file.write_text(
        "def broken(call):\n    return 1 / 0\n\n\ndef letters(call):\n    return float(str(call.waited_s))\n",
        encoding="utf-8",
    )
    words = [argument.replace("{file}", str(file)) for argument in arguments]
    workload = "synthetic:requests=2,input=8,output=2,concurrency=1"
    assert main(["simulate", "--workload", workload, "--draws", "0", "--hypothetical", *words]) != 0
    assert said in capfd.readouterr().err
