"""Where in a model's text a tool is called: text in, as it comes, and the events of the answer out."""

import re
from collections.abc import Iterator

import msgspec

from perdure.dialects.item import ArgumentsDelta, CallStarted, Event, TextDelta
from perdure.dialects.toolprompt import CALL_OPEN

HEADER_CHARS_MAX = 1024

_HEADER = re.compile(r'\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"arguments"\s*:\s*(?=\S)')


class AnswerReader:
    """Reads one answer: text up to `<tool_call>`, then one call; what follows the call is dropped.

    The reader is told how the text begins that the prompt already holds (`primed`), and looks for a call
    only where `calls`. `text` is all that was said, `arguments` the JSON of the call so far; `complete`
    says that the arguments are whole.
    """

    def __init__(self, call_id: str, *, primed: str = "", calls: bool = True) -> None:
        self._call_id = call_id
        self._calls = calls
        self._held = ""
        self._scan = _JsonScan()
        self._in_call = False
        self.text = ""
        self.name: str | None = None
        self.arguments = ""
        assert not list(self.feed(primed)), "what the prompt holds is no answer yet"

    @property
    def called(self) -> bool:
        """Whether the answer is a call."""
        return self.name is not None

    @property
    def complete(self) -> bool:
        return self._scan.complete

    def feed(self, text: str) -> Iterator[Event]:
        """The events that `text`, which comes next, gives rise to."""
        self._held += text
        if not self._in_call:
            yield from self._read_text()
        if self._in_call and self.name is None:
            yield from self._read_header()
        if self.name is not None and self._held and not self.complete:
            taken = self._scan.take(self._held)
            self._held = ""
            self.arguments += taken
            if taken:
                yield ArgumentsDelta(call_id=self._call_id, text=taken)

    def end(self) -> Iterator[Event]:
        """The events of what was held back in case it was the beginning of a call."""
        if not self._in_call and self._held:
            yield self._said(self._held)
            self._held = ""

    def _read_text(self) -> Iterator[Event]:
        """Let out what is surely text; blanks alone wait, because before a call they are no answer."""
        free, tag, rest = self._held, "", ""
        if self._calls:
            free, tag, rest = self._held.partition(CALL_OPEN)
            if not tag:
                keep = _overlap(free, CALL_OPEN)
                free, rest = free[: len(free) - keep], free[len(free) - keep :]
            if not self.text and free.isspace():
                free, rest = ("", rest) if tag else ("", free + rest)
        self._held = rest
        self._in_call = bool(tag)
        if free:
            yield self._said(free)

    def _read_header(self) -> Iterator[Event]:
        header = _HEADER.match(self._held)
        if header is not None:
            self.name = str(msgspec.json.decode(header.group(1)))
            self._held = self._held[header.end() :]
            yield CallStarted(call_id=self._call_id, name=self.name)
        elif len(self._held) > HEADER_CHARS_MAX:
            yield self._said(CALL_OPEN + self._held)
            self._held, self._in_call, self._calls = "", False, False

    def _said(self, text: str) -> TextDelta:
        self.text += text
        return TextDelta(text=text)


class _JsonScan:
    """Finds the end of one JSON object or array, character by character."""

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self.complete = False

    def take(self, text: str) -> str:
        """As much of `text` as belongs to the value."""
        for index, character in enumerate(text):
            self._step(character)
            if self.complete:
                return text[: index + 1]
        return text

    def _step(self, character: str) -> None:
        if self._escaped:
            self._escaped = False
        elif self._in_string:
            self._escaped = character == "\\"
            self._in_string = character != '"'
        elif character == '"':
            self._in_string = True
        elif character in "{[":
            self._depth += 1
        elif character in "}]":
            self._depth -= 1
            self.complete = self._depth == 0


def _overlap(text: str, tag: str) -> int:
    """How many characters at the end of `text` may be the beginning of `tag`."""
    return next((n for n in range(min(len(tag) - 1, len(text)), 0, -1) if text.endswith(tag[:n])), 0)
