"""This machine, really measured."""

import pytest

from perdure.catalog.figure import Status
from perdure.errors import Unavailable
from perdure.silicon import machine
from perdure.silicon.machine import probe_machine
from perdure.units import MIB


@pytest.mark.usefixtures("gcc")
def test_this_machine_can_be_measured() -> None:
    """The C program compiles, and what it says is what some computer could do."""
    entry = probe_machine(working_set_bytes=16 * MIB)
    assert 1e8 < entry.figure("fp32_dense_flop_per_s").mid < 1e15
    assert 1e8 < entry.figure("memory_bandwidth_bytes_per_s").mid < 1e14
    assert all(figure.status is Status.MEASURED for figure in entry.figures.values())
    assert "16.8 MB" in entry.figure("memory_bandwidth_bytes_per_s").source


def test_without_a_compiler_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """No compiler is no crash: it names the package."""
    monkeypatch.setattr(machine, "executable", lambda name: None)
    with pytest.raises(Unavailable, match="apt-get install gcc"):
        probe_machine()
