"""What the catalogue says of one chip, rack or model."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from perdure.catalog.figure import Figure
from perdure.catalog.quantity import QUANTITIES, Kind
from perdure.errors import CatalogBroken


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One chip, rack or model.

    figures     its numbers by name (`memory_bytes`), each with its source
    words       what is no number: `maker`, the `chip` of a rack, `tied_embeddings`
    precisions  the number formats that a chip computes in
    """

    kind: Kind
    id: str
    words: Mapping[str, str | bool]
    figures: Mapping[str, Figure]
    precisions: tuple[str, ...] = field(default=())

    @property
    def path(self) -> str:
        """Where it stands in the catalogue: `chips/zhenwu-m890`."""
        return f"{self.kind}/{self.id}"

    @property
    def title(self) -> str:
        """What people call it."""
        return self.text("title") or self.id

    def text(self, word: str) -> str | None:
        """The string that the entry gives for `word`, or None."""
        value = self.words.get(word)
        return value if isinstance(value, str) else None

    def flag(self, word: str) -> bool:
        """Whether the entry says `word = true`."""
        return self.words.get(word) is True

    def figure(self, name: str) -> Figure:
        """The figure called `name`; raises CatalogBroken where neither fact nor guess gives it."""
        if name not in self.figures:
            raise CatalogBroken(missing_text(self.kind, self.id, name))
        return self.figures[name]


def missing_text(kind: Kind, entry_id: str, name: str) -> str:
    """What to do where `kind/entry_id` lacks the figure called `name`."""
    quantity = next(quantity for quantity in QUANTITIES[kind] if quantity.figure_name == name)
    key = quantity.keys[0]
    return (
        f"{kind}/{entry_id}.toml: {key}: missing; state it there with its source, "
        f"or a low, mid and high with a reason in guesses/{entry_id}.toml"
    )
