"""How the fields of a request body are read, so that none is dropped without a word."""

from collections.abc import Iterable, Mapping
from typing import cast

from perdure.errors import BadRequest

TEXT_CHARACTERS_MAX = 16 * 1024 * 1024


class Fields:
    """A JSON object whose fields are taken one by one.

    A field that is null counts as absent. `finish` names those that were never taken: the harmless ones
    are returned for the caller to be told of, any other is refused. Errors name the field by its path.
    """

    def __init__(self, value: object, path: str = "") -> None:
        if not isinstance(value, dict):
            raise BadRequest(f"{path or 'the request body'} must be a JSON object", param=path or None)
        self._path = path
        self._left = {key: item for key, item in cast("dict[str, object]", value).items() if item is not None}

    def path(self, name: str) -> str:
        """How `name` is called in an error."""
        return f"{self._path}.{name}" if self._path else name

    def names(self) -> tuple[str, ...]:
        """The fields that were not taken yet."""
        return tuple(self._left)

    def take(self, name: str) -> object | None:
        """The field as it came, or None."""
        return self._left.pop(name, None)

    def again(self, name: str, value: object) -> "Fields":
        """An object of the same path whose one field is `name`: to read a taken field in another form."""
        return Fields({name: value}, self._path)

    def text(self, name: str) -> str | None:
        """A string, or None."""
        value = self.take(name)
        if value is None or isinstance(value, str):
            return value
        raise self.wrong(name, "must be a string")

    def needed_text(self, name: str) -> str:
        """A string that must be there and not be empty."""
        value = self.text(name)
        if not value:
            raise self.wrong(name, "is missing; it must be a string that is not empty")
        return value

    def flag(self, name: str, default: bool = False) -> bool:
        """true or false."""
        value = self.take(name)
        if value is None or isinstance(value, bool):
            return default if value is None else value
        raise self.wrong(name, "must be true or false")

    def number(self, name: str, low: float, high: float) -> float | None:
        """A number between the bounds, or None."""
        value = self.take(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.wrong(name, "must be a number")
        if not low <= value <= high:
            raise self.wrong(name, f"is {value}; it must lie between {low:g} and {high:g}")
        return float(value)

    def whole(self, name: str, low: int, high: int) -> int | None:
        """A whole number between the bounds, or None."""
        value = self.take(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.wrong(name, "must be a whole number")
        if not low <= value <= high:
            raise self.wrong(name, f"is {value}; it must lie between {low} and {high}")
        return value

    def inner(self, name: str) -> "Fields | None":
        """A JSON object, to be taken apart in its turn, or None."""
        value = self.take(name)
        return None if value is None else Fields(value, self.path(name))

    def schema(self, name: str) -> dict[str, object] | None:
        """A JSON object as it came (a schema, say), or None."""
        value = self.take(name)
        if value is None or isinstance(value, dict):
            return cast("dict[str, object] | None", value)
        raise self.wrong(name, "must be a JSON object")

    def array(self, name: str, items_max: int) -> tuple[object, ...]:
        """A JSON array of at most `items_max` items; absent is empty."""
        value = self.take(name)
        if value is None:
            return ()
        if not isinstance(value, list):
            raise self.wrong(name, "must be a JSON array")
        items = cast("list[object]", value)
        if len(items) > items_max:
            raise self.wrong(name, f"has {len(items)} items; the limit is {items_max}")
        return tuple(items)

    def objects(self, name: str, items_max: int) -> Iterable["Fields"]:
        """A JSON array of objects."""
        for index, item in enumerate(self.array(name, items_max)):
            yield Fields(item, f"{self.path(name)}[{index}]")

    def refuse(self, reasons: Mapping[str, str]) -> None:
        """Refuse each of these fields where it asks for anything; null, false, 0 and empty do not."""
        for name, reason in reasons.items():
            if self.take(name):
                raise self.wrong(name, reason)

    def only(self, name: str, allowed: tuple[object, ...], reason: str) -> None:
        """Take a field that may be absent or one of `allowed`; anything else is refused."""
        value = self.take(name)
        if value is not None and value not in allowed:
            raise self.wrong(name, reason)

    def wrong(self, name: str, reason: str) -> BadRequest:
        """The error that says what is wrong with `name`."""
        return BadRequest(f"{self.path(name)} {reason}", param=self.path(name))

    def finish(self, harmless: Iterable[str] = ()) -> tuple[str, ...]:
        """The harmless fields that were there and change nothing; raises for any other that was not taken."""
        ignored = [name for name in harmless if self.take(name) is not None]
        for name in self._left:
            raise self.wrong(name, "is not a parameter that this server knows; leave it out")
        return tuple(self.path(name) for name in ignored)
