"""How long exchanges take over links of known bandwidth, against closed forms."""

from dataclasses import replace

import pytest

from perdure.catalog.figure import Case
from perdure.catalog.load import load_catalog
from perdure.errors import BadRequest
from perdure.silicon.collectives import message_floor
from perdure.silicon.efficiency import Factor
from perdure.silicon.price import Rated
from perdure.silicon.price_machine import Hardware
from perdure.silicon.rack import Rack, Tier, rack_at
from perdure.silicon.ranges import exactly
from perdure.silicon.roofline import Operation
from perdure.silicon.shapes import Exchange, Message

AL128 = rack_at(load_catalog().rack("al128"), load_catalog().chip("m890"), Case.MID)
STEP_S = 5.15e-6  # 5 us of software, guessed, and 150 ns of switch
BYTES_PER_S = 384.15e9  # measured on every pair
OUT_STEP_S, OUT_BYTES_PER_S = 11e-6, 50e9  # network: 10 us and 1 us, guessed; 400 Gb/s


def exchange(family: Exchange, size_bytes: float, chips: int, rack: Rack = AL128) -> float:
    return message_floor(Message(family=family, message_bytes=size_bytes, chips=chips), rack).seconds


def test_a_gibibyte_between_two_m890s() -> None:
    """Ledger: 2^30 bytes at the measured 384.15 GB/s take 2.795 ms, and one step."""
    wire = message_floor(Message(family="p2p", message_bytes=2**30, chips=2), AL128)
    assert wire.wire_s == pytest.approx(2.7951e-3, rel=1e-4)
    assert wire.step_s == pytest.approx(STEP_S)


def test_a_gibibyte_between_the_domains_of_an_al128() -> None:
    """Ledger: 2^30 bytes at 400 Gb/s take 21.5 ms."""
    assert exchange("p2p", 2**30, 128) == pytest.approx(2**30 / OUT_BYTES_PER_S + OUT_STEP_S)


@pytest.mark.parametrize("size_bytes", [1024, 2**20, 2**30])
def test_all_reduce_in_a_domain_takes_the_better_closed_form(size_bytes: int) -> None:
    """Ledger: 64 chips: all to all in one step, 63 m / b; or in two, 2 * 63/64 m / b."""
    one = STEP_S + 63 * size_bytes / BYTES_PER_S
    two = 2 * STEP_S + 2 * 63 / 64 * size_bytes / BYTES_PER_S
    assert exchange("all_reduce", size_bytes, 64) == pytest.approx(min(one, two))
    assert (one < two) == (size_bytes < 2**20)


@pytest.mark.parametrize("chips", [2, 16, 64])
def test_all_to_all_in_a_domain_sends_all_but_ones_own_part(chips: int) -> None:
    """Ledger: (n - 1) / n of a GiB leaves each chip, in one step."""
    expected = STEP_S + (chips - 1) / chips * 2**30 / BYTES_PER_S
    assert exchange("all_to_all", 2**30, chips) == pytest.approx(expected)
    assert exchange("all_gather", 2**30, chips) == pytest.approx(expected)
    assert exchange("reduce_scatter", 2**30, chips) == pytest.approx(expected)


def test_all_reduce_over_both_domains_sends_only_parts_between_them() -> None:
    """Ledger: scatter a GiB among 64, reduce 16 MiB with the one peer outside, gather among 64."""
    inside = STEP_S + 63 / 64 * 2**30 / BYTES_PER_S
    part = 2**30 / 64
    outside = min(OUT_STEP_S + part / OUT_BYTES_PER_S, 2 * OUT_STEP_S + part / OUT_BYTES_PER_S)
    assert exchange("all_reduce", 2**30, 128) == pytest.approx(2 * inside + outside)


def test_all_to_all_over_both_domains_waits_for_the_slower_tier() -> None:
    """Ledger: half of a GiB goes out at 50 GB/s while 63/128 of it go round inside."""
    assert exchange("all_to_all", 2**30, 128) == pytest.approx(OUT_STEP_S + 2**30 / 2 / OUT_BYTES_PER_S)


def test_one_chip_or_no_bytes_cost_nothing() -> None:
    """Nothing is sent to oneself."""
    assert exchange("all_reduce", 2**30, 1) == 0
    assert exchange("all_to_all", 0, 64) == 0


def test_more_chips_than_the_rack_has_are_refused() -> None:
    """The message says how many there are."""
    with pytest.raises(BadRequest, match="128"):
        exchange("all_reduce", 1, 200)


def tier(topology: str, chips: int = 8) -> Tier:
    switch = AL128.scale_up
    return replace(switch, topology=topology, domain_chips=chips, bytes_per_s=70e9, hop_s=0.0, software_s=0.0)


def test_a_mesh_uses_only_wires_between_those_who_take_part() -> None:
    """Ledger: of 8 chips with 7 wires of 10 GB/s, 2 have one wire between them; all 8 use every wire."""
    mesh = replace(AL128, tiers=(tier("mesh"),), chips=8)
    assert exchange("all_gather", 20e9, 2, mesh) == pytest.approx(1.0)  # 10 GB over 10 GB/s
    assert exchange("all_gather", 80e9, 8, mesh) == pytest.approx(1.0)  # 70 GB over 70 GB/s
    assert exchange("p2p", 10e9, 8, mesh) == pytest.approx(1.0)


def test_a_torus_passes_an_all_to_all_on() -> None:
    """Ledger: in a cube of 64 a byte crosses 3 wires on the mean; a ring of 2 has 2 wires of 6."""
    torus = replace(AL128, tiers=(tier("torus", 64),), chips=64)
    assert exchange("all_to_all", 64e9, 64, torus) == pytest.approx(63e9 / (70e9 / 3))
    assert exchange("all_gather", 64e9, 64, torus) == pytest.approx(63e9 / 70e9)
    assert exchange("all_gather", 2e9, 2, torus) == pytest.approx(1e9 / (70e9 / 3))


def test_the_way_to_exchange_is_chosen_for_bytes_as_slow_as_software_makes_them() -> None:
    """Ledger: 320 KiB over 8 cards at 384.15 GB/s, 1.25 times slower, 5.15 us a step: two take 12.17 us;
    in one step, which is less without the 1.25, it would be 12.61.
    """
    catalog = load_catalog()
    hardware = Hardware(chip=catalog.chip("m890"), rack=catalog.rack("al128"))
    factor = Factor(times=exactly(1.25), status=None, source="made up")
    message = Message(family="all_reduce", message_bytes=32 * 5120 * 2.0, chips=8)
    taken_s = Rated(operation=Operation(name="x", shape=message), factor=factor).spent(hardware.mid).link_s
    once_s = 1.25 * 32 * 5120 * 2 / hardware.chip.figure("link_bytes_per_s").mid
    assert taken_s == pytest.approx(min(7 * once_s + 5.15e-6, 2 * 7 / 8 * once_s + 2 * 5.15e-6))
    assert taken_s * 1e6 == pytest.approx(12.17, abs=0.01)
