"""`perdure catalog`: lists, one entry with its sources, racks drawn, JSON, and pages that need no network."""

import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from perdure.catalog.load import load_catalog
from perdure.cli.catalog_roofline import LABEL_STEP, roofline_svg, roofs_of_all
from perdure.cli.main import main


def printed(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    """What `perdure catalog WORDS` prints; where it fails, what it complains of."""
    assert main(["catalog", *words]) == code
    output = capsys.readouterr()
    return output.err if code else output.out


@pytest.mark.parametrize("kind", ["chips", "racks", "models"])
def test_a_list_has_every_entry_in_80_columns(capsys: pytest.CaptureFixture[str], kind: str) -> None:
    """The list shows each short id once, and fits a terminal."""
    text = printed(capsys, kind)
    first_words = [line.split(" ")[0] for line in text.splitlines()]
    for entry in load_catalog().entries[kind].values():  # type: ignore[index]
        assert first_words.count(entry.short_id) == 1
    assert max(map(len, text.splitlines())) <= 80


def test_a_list_marks_what_is_guessed(capsys: pytest.CaptureFixture[str]) -> None:
    """Guesses carry a mark and facts none; a chip without a price shows none."""
    text = printed(capsys, "chips")
    m890 = next(line for line in text.splitlines() if line.startswith("m890")).split()
    h200 = next(line for line in text.splitlines() if line.startswith("h200")).split()
    assert m890 == ["m890", "155", "~4.6", "~380", "~760", "~1,520", "-", "384", "~600", "-"]
    assert h200 == ["h200", "141", "4.8", "989", "1,979", "-", "1,979", "450", "700", "1.41-1.74"]


def test_one_chip_shows_status_and_source_of_every_figure(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is printed without saying how sure it is and who says so."""
    text = " ".join(printed(capsys, "chips", "m890").split())
    for figure in load_catalog().chip("m890").figures.values():
        assert f"{figure.text} {figure.status}" in text
    assert "3.2 to 4.9 TB/s (mid 4.6) estimate undisclosed; 144 GB fits 6 stacks" in text
    assert "384.15 GB/s measured github.com/t-head/sailbandwidth" in text


def test_json_has_every_figure_with_its_provenance(capsys: pytest.CaptureFixture[str]) -> None:
    """Programs get base units, three equal ends for a fact, and the lists with their sources."""
    chips = json.loads(printed(capsys, "chips", "--json"))["chips"]
    assert len(chips) == len(load_catalog().entries["chips"])
    h200 = json.loads(printed(capsys, "chips", "h200", "--json"))
    assert h200 in chips
    assert (h200["id"], h200["full_id"]) == ("h200", "nvidia-h200")
    bandwidth = h200["figures"]["memory_bandwidth_bytes_per_s"]
    assert (bandwidth["low"], bandwidth["mid"], bandwidth["high"]) == (4.8e12, 4.8e12, 4.8e12)
    assert h200["precisions"]["names"] == ["bf16", "fp8", "int8"]
    for chip in chips:
        for figure in chip["figures"].values():
            assert figure["source"]
            assert (figure["low"] == figure["high"]) == (figure["status"] != "estimate")


def test_json_of_models_and_racks(capsys: pytest.CaptureFixture[str]) -> None:
    """What follows from the figures is apart from them; an API-only model names its stand-in."""
    model = json.loads(printed(capsys, "models", "deepseek-v3", "--json"))
    assert model["derived"]["kv_bytes_per_token"] == 70_272
    served = json.loads(printed(capsys, "models", "qwen3.7-max", "--json"))
    assert (served["stand_in"], served["derived"]["stands_in"]) == ("qwen3.8-2.4t-a95b", True)
    assert served["prices"]["mainland"]["figures"]["cache_write_cny_per_mtok"]["mid"] == 15
    rack = json.loads(printed(capsys, "rack", "al128", "--json"))
    assert rack["figures"]["power_w"]["mid"] == 350_000
    icn = rack["derived"]["tiers"][0]
    assert (icn["name"], icn["domain_chips"], icn["rails"], icn["hops"]) == ("icn", 64, 8, 1)
    assert {failure["what"] for failure in rack["derived"]["failures"]} >= {"chip", "node", "icn switch"}


def test_the_al128_is_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    """Two domains of 16 nodes of four cards under eight switches, a network, and what fails together."""
    text = printed(capsys, "rack", "al128")
    assert text.count("each of 8 switches, by 48.02 GB/s a wire") == 2
    assert "icn domain 1 of 2" in text
    assert "icn domain 2 of 2" in text
    assert len(re.findall(r"node +\d+ ■■■■", text)) == 32
    assert "350 kW" in text
    assert re.search(r"16 x icn switch +no chip gone; 64 chips keep 87.5 %", text)
    assert re.search(r"32 x node +4 chips gone", text)


@pytest.mark.parametrize("name", list(load_catalog().entries["racks"]))
def test_every_rack_can_be_drawn(capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str) -> None:
    """From one server to 9,216 chips, text and page stay of a size that can be looked at."""
    text = printed(capsys, "rack", name)
    assert len(text.splitlines()) < 80
    assert max(map(len, text.splitlines())) <= 80
    page = page_of(capsys, tmp_path, "rack", name)
    assert page.count("<svg") == 1
    assert len(page) < 200_000


@pytest.mark.parametrize(
    "words",
    [("chips",), ("chips", "m890"), ("chips", "j900"), ("racks",), ("models",), ("models", "qwen3.7-max")],
)
def test_a_page_is_one_file_that_needs_no_network(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, words: tuple[str, ...]
) -> None:
    """Well-formed, with nothing to fetch, and every source in it."""
    page = page_of(capsys, tmp_path, *words)
    checker = Balanced()
    checker.feed(page)
    checker.close()
    assert checker.open_tags == []
    assert not re.search(r"(src|href)\s*=|url\(|@import|<script|<link", page)
    kind = words[0]
    entries = load_catalog().entries[kind].values()  # type: ignore[index]
    shown = [load_catalog().find(kind, words[1])] if len(words) > 1 else list(entries)  # type: ignore[arg-type]
    for entry in shown:
        for figure in entry.figures.values():
            assert figure.text.replace("&", "&amp;") in page


def test_a_page_of_chips_has_a_roofline_for_each() -> None:
    """One line a chip that computes in BF16, a band where it is guessed, and names that do not overlap."""
    chips = list(load_catalog().entries["chips"].values())
    roofs = roofs_of_all(chips)
    svg = roofline_svg(roofs, about="test")
    assert svg.count('class="line"') == len(roofs) == sum("bf16" in chip.precisions for chip in chips)
    assert svg.count('class="band"') == sum(roof.guessed for roof in roofs)
    heights = sorted(float(y) for y in re.findall(r'<text x="8[0-9.]+" y="([0-9.]+)">', svg))
    assert len(heights) == len(roofs)
    assert all(below - above >= LABEL_STEP - 0.11 for above, below in pairwise(heights))


def test_text_from_a_file_is_escaped_in_a_page(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A model of the user's own cannot smuggle markup into the page."""
    folder = tmp_path / "<script>alert(1)<"
    folder.mkdir()
    config = {
        "model_type": "llama",
        "hidden_size": 8,
        "num_attention_heads": 2,
        "num_hidden_layers": 1,
        "intermediate_size": 16,
        "vocab_size": 10,
        "max_position_embeddings": 100,
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    page = page_of(capsys, tmp_path, "models", str(folder))
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;" in page
    assert "1 full" in printed(capsys, "models", str(folder))


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("chips", "m980"), "did you mean m890"),
        (("models", "qwen3-32bb"), "did you mean qwen3-32b"),
        (("chips", "950"), "950dt, 950pr"),
        (("rack",), "name the rack to draw: "),
        (("rack", "al129"), "did you mean al128"),
        (("models", "./nowhere/config.json"), "nowhere/config.json"),
    ],
)
def test_a_name_that_is_not_there_is_refused(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], complaint: str
) -> None:
    """Bad usage ends with 2, and the nearest name or the candidates."""
    assert complaint in printed(capsys, *words, code=2)


def test_a_page_that_cannot_be_written_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A folder that is not there is named, and nothing else is printed."""
    path = tmp_path / "nowhere" / "page.html"
    assert main(["catalog", "chips", "--html", str(path)]) == 1
    output = capsys.readouterr()
    assert str(path) in output.err
    assert output.out == ""


class Balanced(HTMLParser):
    """Which tags are still open; raises where one closes that is not."""

    def __init__(self) -> None:
        super().__init__()
        self.open_tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag != "meta":
            self.open_tags.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open_tags.pop() == tag


def page_of(capsys: pytest.CaptureFixture[str], folder: Path, *words: str) -> str:
    path = folder / "page.html"
    assert "wrote" in printed(capsys, *words, "--html", str(path))
    return path.read_text(encoding="utf-8")
