"""What the catalogue says of one chip, rack, model or site."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from perdure.catalog.figure import Figure, Status
from perdure.catalog.quantity import QUANTITIES, Kind, PartKind
from perdure.errors import CatalogBroken


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """A list of names, such as the precisions of a chip, and who says so; a guess gives its reason."""

    names: tuple[str, ...]
    status: Status
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One link of a rack, or one price list of a model: figures and words of its own."""

    owner: str
    kind: PartKind
    name: str
    words: Mapping[str, str | bool]
    figures: Mapping[str, Figure]

    def text(self, word: str) -> str | None:
        """The string that the part gives for `word`, or None."""
        value = self.words.get(word)
        return value if isinstance(value, str) else None

    def figure(self, name: str) -> Figure:
        """The figure called `name`; raises CatalogBroken where neither fact nor guess gives it."""
        if name not in self.figures:
            raise CatalogBroken(
                f"{self.owner}.toml: {self.kind}.{self.name}: {name}: missing; "
                f"state it there with its source, or guess it in guesses/{self.owner.partition('/')[2]}.toml"
            )
        return self.figures[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One chip, rack, model or site.

    figures  its numbers by name (`memory_bytes`), each with its source
    words    what is no number: `maker`, the `chip` of a rack, `tied_embeddings`
    lists    lists of names by what they are: `precisions`, `kv_precisions`, `engines`
    parts    tables of its own kind by name: the `links` of a rack, the `prices` of a model
    """

    kind: Kind
    id: str
    words: Mapping[str, str | bool]
    figures: Mapping[str, Figure]
    lists: Mapping[str, Names] = field(default_factory=dict[str, Names])
    parts: Mapping[str, Part] = field(default_factory=dict[str, Part])

    @property
    def path(self) -> str:
        """Where it stands in the catalogue: `chips/zhenwu-m890`."""
        return f"{self.kind}/{self.id}"

    @property
    def short_id(self) -> str:
        """What people type: `m890`. The full id does as well."""
        return self.text("short_id") or self.id

    @property
    def title(self) -> str:
        """What people call it."""
        return self.text("title") or self.id

    @property
    def precisions(self) -> tuple[str, ...]:
        """The number formats that a chip computes in."""
        return self.names("precisions")

    def names(self, what: str) -> tuple[str, ...]:
        """The list called `what`, or nothing."""
        return self.lists[what].names if what in self.lists else ()

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
    quantity = next((quantity for quantity in QUANTITIES[kind] if quantity.figure_name == name), None)
    key = quantity.keys[0] if quantity else name
    return (
        f"{kind}/{entry_id}.toml: {key}: missing; state it there with its source, "
        f"or a low, mid and high with a reason in guesses/{entry_id}.toml"
    )
