"""What `key=value,key=value` means: which keys there are, of what kind, and within which limits."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from perdure.errors import BadRequest

TEXT_LENGTH_MAX = 4096

Value = int | float | str


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number from `low` to `high`; `1_000` and `64k` are understood."""

    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Number:
    """A number from `low` to `high`."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Word:
    """One of `words`, or anything where there are none."""

    words: tuple[str, ...] = ()


Kind = Whole | Number | Word


@dataclass(frozen=True, slots=True)
class Settings:
    """What was set, by key; each getter checks that the value has the kind that it returns."""

    values: Mapping[str, Value]

    def has(self, *keys: str) -> bool:
        """Whether any of `keys` was set."""
        return any(key in self.values for key in keys)

    def whole(self, key: str, default: int) -> int:
        """The whole number of `key`, or `default`."""
        value = self.values.get(key, default)
        assert isinstance(value, int), key
        return value

    def number(self, key: str, default: float) -> float:
        """The number of `key`, or `default`."""
        value = self.values.get(key, default)
        assert not isinstance(value, str), key
        return float(value)

    def word(self, key: str, default: str) -> str:
        """The word of `key`, or `default`."""
        value = self.values.get(key, default)
        assert isinstance(value, str), key
        return value


def parse_settings(text: str, keys: Mapping[str, Kind]) -> Settings:
    """What `text` sets among `keys`; BadRequest with the nearest for an unknown one."""
    values: dict[str, Value] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not (equals and value):
            raise BadRequest(f"{part!r} sets nothing; write KEY=VALUE,KEY=VALUE", param="workload")
        if key not in keys:
            raise BadRequest(f"there is no key {key!r}; {nearest(key, tuple(keys))}", param="workload")
        if key in values:
            raise BadRequest(f"{key} is set twice", param="workload")
        values[key] = _value(key, value, keys[key])
    return Settings(values)


def nearest(word: str, known: tuple[str, ...]) -> str:
    """What to write instead of `word`: the nearest of `known`, if any is near, and all of them."""
    near = difflib.get_close_matches(word, known, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"{hint}it is one of {', '.join(known)}"


def _value(key: str, text: str, kind: Kind) -> Value:
    if isinstance(kind, Word):
        if kind.words and text not in kind.words:
            raise BadRequest(f"{key}={text}: {nearest(text, kind.words)}", param="workload")
        return text
    number = _number(text, whole=isinstance(kind, Whole))
    if number is None or not kind.low <= number <= kind.high:
        what = "a whole number" if isinstance(kind, Whole) else "a number"
        raise BadRequest(f"{key}={text}: write {what} from {kind.low:,} to {kind.high:,}", param="workload")
    return number


def _number(text: str, *, whole: bool) -> int | float | None:
    scale = {"k": 1_000, "m": 1_000_000}.get(text[-1:].lower(), 1)
    digits = text[:-1] if scale > 1 else text
    try:
        return int(digits) * scale if whole else float(digits) * scale
    except ValueError:
        return None
