"""Reading back a page of the twin as a browser would: its figures, its texts, and whether tags close."""

from html.parser import HTMLParser
from typing import Any

VOID = ("meta", "br", "hr", "img", "link", "input")


class Page(HTMLParser):
    """What a page holds.

    figures  the exact value of each figure by its name, as often as it stands there; texts: what is shown
    tags     every tag that was opened; addresses: every attribute that could make a browser fetch something
    """

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.figures: dict[str, list[float]] = {}
        self.texts: dict[str, list[str]] = {}
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self._figure: str | None = None
        self.feed(text)
        self.close()
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        found = dict(attrs)
        assert len(found) == len(attrs), f"an attribute is given twice in {attrs}"
        for name in ("src", "href", "xlink:href", "srcset", "data", "action", "poster"):
            if name in found:
                self.addresses.append(f"{tag} {name}={found[name]}")
        assert not any(name.startswith("on") for name in found), f"a script in an attribute: {attrs}"
        if tag == "data":
            name, value = found["data-figure"], found["value"]
            assert name is not None
            assert value is not None
            self.figures.setdefault(name, []).append(float(value))
            self._figure = name
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open.pop() == tag, f"</{tag}> closes something else"
        if tag == "data":
            self._figure = None

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if self._figure is not None:
            self.texts.setdefault(self._figure, []).append(data)


def flat(value: Any, name: str = "") -> dict[str, float]:
    """The numbers of a JSON object by their dotted paths."""
    if isinstance(value, dict):
        parts = [flat(one, f"{name}.{key}" if name else str(key)) for key, one in value.items()]
    elif isinstance(value, list):
        parts = [flat(one, f"{name}.{place}") for place, one in enumerate(value)]
    else:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return {name: float(value)} if number else {}
    return {key: number for part in parts for key, number in part.items()}
