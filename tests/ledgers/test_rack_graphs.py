"""Racks as graphs: wires, hops, rails and what failures take, against counts on paper."""

import pytest

from perdure.catalog.figure import Case
from perdure.catalog.load import load_catalog
from perdure.errors import BadRequest
from perdure.silicon.rack import Rack, rack_at
from perdure.silicon.rack_graph import Graph, failures_of, graph_of, torus_shape

CATALOG = load_catalog()
SMALL = [name for name, entry in CATALOG.entries["racks"].items() if entry.figure("rack_chips").mid < 1000]


def rack(name: str) -> Rack:
    entry = CATALOG.rack(name)
    return rack_at(entry, CATALOG.chip(entry.text("chip") or ""), Case.MID)


def wires_of(graph: Graph, chip: str, tier: str) -> list[float]:
    return [wire.bytes_per_s for _, wire in graph.neighbours(chip, tier=tier)]


def test_the_al128_is_two_domains_of_eight_single_hop_rails() -> None:
    """Ledger: 16 ICN switches; 8 wires of 384.15 / 8 GB/s a card; one switch between any two of 64."""
    al128 = rack("al128")
    graph = graph_of(al128)
    assert sum(vertex.kind == "chip" for vertex in graph.vertices.values()) == 128
    assert sum(vertex.tier == "icn" for vertex in graph.vertices.values()) == 2 * 8
    assert wires_of(graph, "chip 0", "icn") == [pytest.approx(384.15e9 / 8)] * 8
    assert graph.switches_between("chip 0", "chip 63", tier="icn") == 1
    assert graph.switches_between("chip 0", "chip 64", tier="icn") is None
    assert graph.switches_between("chip 0", "chip 64", tier="network") == 1
    assert len({vertex.node for vertex in graph.vertices.values() if vertex.kind == "chip"}) == 32
    assert al128.power_w == 350_000


def test_the_icn_switch_has_64_ports_of_its_published_bandwidth() -> None:
    """Ledger: 64 ports x 400 Gb/s are the 25.6 Tb/s of ICN Switch 1.0, at the 384.15 of 400 GB/s measured."""
    graph = graph_of(rack("al128"))
    ports = [wire.bytes_per_s for _, wire in graph.neighbours("icn 0.0")]
    assert len(ports) == 64
    assert sum(ports) * 8 == pytest.approx(25.6e12 * 384.15 / 400)


def test_nvl72_has_18_rails() -> None:
    """Ledger: 72 GPUs with 18 wires of 50 GB/s, one switch between any two."""
    graph = graph_of(rack("gb200-nvl72"))
    assert wires_of(graph, "chip 0", "nvlink") == [pytest.approx(50e9)] * 18
    assert graph.switches_between("chip 0", "chip 71", tier="nvlink") == 1


def test_the_cloudmatrix_has_two_levels_in_seven_planes() -> None:
    """Ledger: 48 nodes x 7 first-level switches are the paper's 336; cards of two nodes are three apart."""
    graph = graph_of(rack("cloudmatrix384"))
    assert sum(v.kind == "switch" and v.tier == "ub" for v in graph.vertices.values()) == 336
    assert graph.switches_between("chip 0", "chip 7", tier="ub") == 1
    assert graph.switches_between("chip 0", "chip 8", tier="ub") == 3
    leaf_up = [w.bytes_per_s for other, w in graph.neighbours("ub 0.0 node 0") if "second" in other]
    assert leaf_up == [pytest.approx(8 * 392e9 / 7)]


def test_an_instinct_server_is_a_mesh() -> None:
    """Ledger: 28 wires among 8 cards, 448 / 7 = 64 GB/s each, and nothing between two cards."""
    graph = graph_of(rack("mi300x-8"))
    wires = [wire for wire in graph.wires if wire.tier == "fabric"]
    assert len(wires) == 28
    assert {wire.bytes_per_s for wire in wires} == {64e9}
    assert graph.switches_between("chip 0", "chip 7", tier="fabric") == 0


def test_a_tpu_pod_is_a_torus_of_six_neighbours() -> None:
    """Ledger: 9,216 = 16 x 24 x 24 chips have 3 x 9,216 wires, six ends a chip, 100 GB/s each."""
    assert torus_shape(9216) == (16, 24, 24)
    graph = graph_of(rack("tpu-v7-pod"))
    assert len(graph.wires) == 3 * 9216
    assert wires_of(graph, "chip 5000", "ici") == [pytest.approx(100e9)] * 6


@pytest.mark.parametrize("name", SMALL)
def test_a_chip_has_the_bandwidth_of_its_tiers(name: str) -> None:
    """The wires of one chip add up to what each tier gives a chip, none lost and none invented."""
    drawn = rack(name)
    graph = graph_of(drawn)
    for tier in drawn.tiers:
        if drawn.chips > 1:
            assert sum(wires_of(graph, "chip 0", tier.name)) == pytest.approx(tier.bytes_per_s)


@pytest.mark.parametrize("name", ["al128", "gb200-nvl72", "hgx-h100", "cloudmatrix384"])
def test_a_failed_rail_leaves_everybody_joined_with_the_rest(name: str) -> None:
    """A switch that fails takes its share of bandwidth and no chip, as the list of failures says."""
    drawn = rack(name)
    graph = graph_of(drawn)
    tier = drawn.scale_up
    gone = frozenset(vertex for vertex in graph.vertices if vertex.startswith(f"{tier.name} 0.0"))
    broken = graph.without(gone)
    last = min(drawn.chips, tier.domain_chips) - 1
    assert broken.switches_between("chip 0", f"chip {last}", tier=tier.name) is not None
    failure = next(failure for failure in failures_of(drawn) if failure.what.startswith(tier.name))
    left = sum(wires_of(broken, "chip 0", tier.name)) / tier.bytes_per_s
    assert left == pytest.approx(failure.bandwidth_left)
    assert failure.chips_lost == 0


def test_what_fails_together_in_an_al128() -> None:
    """Ledger: 128 chips, 32 nodes of 4, 16 rails of which each leaves 7 of 8, one network, one rack."""
    found = {failure.what: failure for failure in failures_of(rack("al128"))}
    assert [(name, failure.count, failure.chips_lost) for name, failure in found.items()] == [
        ("chip", 128, 1),
        ("node", 32, 4),
        ("icn switch", 16, 0),
        ("network", 1, 0),
        ("rack", 1, 128),
    ]
    assert found["icn switch"].bandwidth_left == 7 / 8
    assert found["network"].bandwidth_left == 0


def test_the_fastest_tier_that_reaches_is_taken() -> None:
    """64 cards of an AL128 meet over ICN, 65 over the network, and 129 over nothing that we know of."""
    al128 = rack("al128")
    assert al128.tier_for(64).name == "icn"
    assert al128.tier_for(65).name == "network"
    with pytest.raises(BadRequest, match="at most 128"):
        al128.tier_for(129)


def test_a_step_is_software_and_switches() -> None:
    """Ledger: 5 us of software (a guess) and one hop of 150 ns on an AL128; 10 us in all on an NVL72."""
    assert rack("al128").tier_for(2).step_s == pytest.approx(5.15e-6)
    assert rack("gb300-nvl72").tier_for(2).step_s == pytest.approx(10e-6)
