"""When something happened, in seconds since 1970, from what people write in traces."""

import re
from bisect import bisect_left
from collections.abc import Sequence
from datetime import UTC, datetime

from perdure.errors import BadRequest

# Azure's traces have seven digits after the second; Python reads six.
_FRACTION = re.compile(r"(\.\d{6})\d+")


def seconds_of(moment: datetime) -> float:
    """`moment`, in UTC where it names no zone."""
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def seconds_in(text: str, *, place: str) -> float:
    """A number of seconds, or a date and time of day in ISO 8601; BadRequest, naming `place`, otherwise."""
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return seconds_of(datetime.fromisoformat(_FRACTION.sub(r"\1", text.strip())))
    except ValueError:
        raise BadRequest(f"{place} is {text!r}, neither a number nor a date and time") from None


def any_between(times_s: Sequence[float], after_s: float, until_s: float) -> bool:
    """Whether one of `times_s`, which are in order, lies between two others, both included."""
    place = bisect_left(times_s, after_s)
    return place < len(times_s) and times_s[place] <= until_s
