"""This machine as a chip: measured once, kept, and priced like any other."""

import json
from pathlib import Path

import pytest

from perdure.catalog.entry import Entry
from perdure.catalog.load import load_catalog
from perdure.cli.main import main
from perdure.errors import BadRequest, Unavailable
from perdure.silicon import machine_record
from perdure.silicon.machine import machine_entry, machine_memory_bytes
from perdure.silicon.machine_record import RECORD, catalog_for, measured_machine, recorded_machine

COST = ["cost", "--on", "this-machine/smollm2-135m", "--batch", "decode=512", "--json"]


def made(flop_per_s: float, bytes_per_s: float) -> Entry:
    """A machine of those peaks, with the memory of this one."""
    return machine_entry(
        flop_per_s=flop_per_s,
        bytes_per_s=bytes_per_s,
        memory_bytes=machine_memory_bytes(),
        how="measured now on 2 cores, best of several rounds",
    )


@pytest.fixture
def probes(monkeypatch: pytest.MonkeyPatch) -> list[Entry]:
    """What the next measurements come to, the last one first."""
    waiting = [made(1e11, 4e9), made(2e11, 2e9)]
    monkeypatch.setattr(machine_record, "probe_machine", lambda: waiting.pop())
    return waiting


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folders that are empty."""
    monkeypatch.setenv("PERDURE_HOME", str(tmp_path))
    return tmp_path / "cache"


def test_it_is_measured_once_and_then_remembered(
    home: Path, probes: list[Entry], capsys: pytest.CaptureFixture[str]
) -> None:
    """The first price measures; the second one is the same, from what was kept."""
    assert main(COST) == 0
    first = json.loads(capsys.readouterr().out)
    assert main(COST) == 0
    assert json.loads(capsys.readouterr().out) == first
    assert len(probes) == 1
    assert first["seconds"]["low"] == first["seconds"]["high"] > 0
    statuses = {figure["status"] for figure in first["provenance"]["figures"] if "machine" in figure["of"]}
    assert statuses == {"measured"}


@pytest.mark.usefixtures("probes")
def test_the_best_of_several_measurements_stands(tmp_path: Path) -> None:
    """A busy machine only ever measures less, so what was reached before is not forgotten."""
    measured_machine(tmp_path)
    again = measured_machine(tmp_path)
    assert again.figure("fp32_dense_flop_per_s").mid == 2e11
    assert again.figure("memory_bandwidth_bytes_per_s").mid == 4e9
    kept = recorded_machine(tmp_path)
    assert kept is not None
    assert kept.figure("memory_bandwidth_bytes_per_s").mid == 4e9


@pytest.mark.parametrize("text", ["", "[]", "{", '{"cores": 0}', '{"flop_per_s": "x"}', "x" * 20_000])
def test_a_broken_record_is_no_record(tmp_path: Path, text: str) -> None:
    """What cannot be read is measured again."""
    (tmp_path / RECORD).write_text(text)
    assert recorded_machine(tmp_path) is None


@pytest.mark.usefixtures("probes")
def test_a_record_of_another_machine_does_not_count(tmp_path: Path) -> None:
    """With other cores or other memory it is measured again."""
    measured_machine(tmp_path)
    record = json.loads((tmp_path / RECORD).read_text())
    (tmp_path / RECORD).write_text(json.dumps({**record, "cores": record["cores"] + 1}))
    assert recorded_machine(tmp_path) is None


@pytest.mark.usefixtures("probes")
def test_the_list_of_chips_says_whether_it_was_measured(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It names the command until then, and the machine from then on."""
    assert main(["catalog", "chips"]) == 0
    assert "not measured yet; run perdure catalog chips this-machine" in capsys.readouterr().out
    measured_machine(home)
    assert main(["catalog", "chips", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["chips"][-1]["id"] == "this-machine"


def test_there_is_one_of_this_machine(tmp_path: Path) -> None:
    """Several of it are refused before anything is measured."""
    with pytest.raises(BadRequest, match="there is one of this machine"):
        catalog_for("this-machinex2/smollm2-135m", load_catalog(), tmp_path)


def test_without_a_compiler_the_command_says_what_to_install(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No compiler is no crash and no silent number."""

    def refuse() -> Entry:
        raise Unavailable("this machine cannot be measured without a C compiler: sudo apt-get install gcc")

    monkeypatch.setattr(machine_record, "probe_machine", refuse)
    assert main(COST) == 1
    assert "apt-get install gcc" in capsys.readouterr().err
    assert not (home / RECORD).exists()
