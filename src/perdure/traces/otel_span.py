"""What is read of one OpenTelemetry span, from OTLP's JSON or a flat list."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import msgspec

from perdure.traces.calls import Tally
from perdure.traces.moments import seconds_of

NS_PER_S = 1e9
OPERATION = "gen_ai.operation.name"


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """A span with plain attributes."""

    trace_id: str
    span_id: str
    parent_span_id: str | None
    start_s: float
    end_s: float
    attributes: dict[str, Any]

    @property
    def operation(self) -> str | None:
        """What it is: `chat`, `invoke_agent`, `execute_tool`."""
        return self.text((OPERATION,))

    def text(self, names: Sequence[str]) -> str | None:
        """The first of the attributes that is there, as text."""
        value = next((self.attributes[name] for name in names if self.attributes.get(name) is not None), None)
        if value is None or isinstance(value, str):
            return value
        return msgspec.json.encode(value).decode()

    def count(self, names: Sequence[str]) -> int | None:
        """The first of the attributes that is a whole number."""
        for name in names:
            value = self.attributes.get(name)
            if isinstance(value, int | float) and not isinstance(value, bool):
                return int(value)
        return None


class FlatSpan(msgspec.Struct, frozen=True, kw_only=True):
    """A span of a flat list; times as ISO 8601."""

    trace_id: str = ""
    span_id: str
    parent_span_id: str | None = None
    start_time: datetime
    end_time: datetime
    attributes: dict[str, Any] = {}


class OtlpAttribute(msgspec.Struct, frozen=True, kw_only=True):
    """A name and a value of one of OTLP's kinds."""

    key: str
    value: dict[str, Any] = {}


class OtlpSpan(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A span of OTLP; times in nanoseconds since 1970, as text or number."""

    trace_id: str = ""
    span_id: str
    parent_span_id: str | None = None
    start_time_unix_nano: int | str
    end_time_unix_nano: int | str
    attributes: list[OtlpAttribute] = []


class OtlpScope(msgspec.Struct, frozen=True, kw_only=True):
    """Spans of one instrumentation."""

    spans: list[OtlpSpan] = []


class OtlpResource(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Spans of one service."""

    scope_spans: list[OtlpScope] = []


class Document(msgspec.Struct, frozen=True, kw_only=True, rename={"resource_spans": "resourceSpans"}):
    """Either kind of file."""

    spans: list[FlatSpan] = []
    resource_spans: list[OtlpResource] = []


def read_spans(content: bytes, tally: Tally) -> Iterator[Span]:
    """The spans of one document, or of one a line; what is none is counted and left out."""
    for document in _documents(content, tally):
        yield from (_flat(span) for span in document.spans)
        for resource in document.resource_spans:
            for scope in resource.scope_spans:
                yield from (_otlp(span) for span in scope.spans)


def _documents(content: bytes, tally: Tally) -> Iterator[Document]:
    decode = msgspec.json.Decoder(Document).decode
    try:
        yield decode(content)
    except msgspec.DecodeError:
        lines = [line for line in content.splitlines() if line.strip()]
        for line in lines:
            try:
                yield decode(line)
            except msgspec.DecodeError as error:
                tally.skipped[
                    f"a document without spans ({error})" if len(lines) == 1 else "a torn line"
                ] += 1


def _flat(span: FlatSpan) -> Span:
    return Span(
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_span_id=span.parent_span_id,
        start_s=seconds_of(span.start_time),
        end_s=seconds_of(span.end_time),
        attributes=span.attributes,
    )


def _otlp(span: OtlpSpan) -> Span:
    return Span(
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_span_id=span.parent_span_id or None,
        start_s=int(span.start_time_unix_nano) / NS_PER_S,
        end_s=int(span.end_time_unix_nano) / NS_PER_S,
        attributes={one.key: _value(one.value) for one in span.attributes},
    )


def _value(value: dict[str, Any]) -> Any:
    """OTLP writes whole numbers as text."""
    if "intValue" in value:
        return int(value["intValue"])
    return next(iter(value.values()), None)
