"""Which function a user means by `NAME` or `FILE:FUNCTION`, checked before anything depends on it.

A policy file is the user's own code, and is run when it is loaded. Everything that can be said beforehand is:
a file that cannot be read, does not parse or raises, a function that takes or gives the wrong thing.
"""

import inspect
import math
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from perdure.errors import BadRequest
from perdure.scheduling.policies import CHOICES, FACTS, Capability, Kind, facts_of, named, needs

FILE_BYTES_MAX = 256 * 1024
# What a policy is tried on: all facts alike at first, then each with its own of these, in turn.
PROBE_VALUES = (0, 1, 100_000, 0.001, 37, 1_000_000_007, 8.5, 1e12)
PROBES = 32
FLAGS = ("tool_return", "declared", "home", "tool", "lower_tier", "ended", "superseded", "active")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A policy as the user named it. `file` is None for one of ours."""

    kind: Kind
    name: str
    function: Callable[[Any], float]
    needs: tuple[Capability, ...]
    file: Path | None


def choose_policy(kind: Kind, text: str) -> Chosen:
    """The policy called `text`, or the function of a file; BadRequest says what is wrong, and where."""
    if ":" not in text and not text.endswith(".py"):
        function = named(kind, text)
        return Chosen(kind=kind, name=text, function=function, needs=needs(kind, text), file=None)
    place, _, name = text.rpartition(":")
    if not place or not name:
        raise BadRequest(
            f"{text!r} names no function; write FILE:FUNCTION, for example mine.py:{kind}", param=kind
        )
    path = Path(place).expanduser()
    function = _function(_module(path), path, name)
    _check_signature(kind, function, path)
    for facts in probes(kind):
        _check_choice(kind, function, path, facts)
    return Chosen(kind=kind, name=text, function=function, needs=needs(kind, text), file=path)


def probes(kind: Kind) -> list[Any]:
    """Facts of that kind that a policy must answer: first with nothing known, then little, then much."""
    members = FACTS[kind].__annotations__
    tried: list[Any] = []
    for number in range(PROBES):
        numbers: list[float] = []
        for place, (name, member) in enumerate(members.items()):
            spread = place * (number // len(PROBE_VALUES))  # 0 for the first few, in which all are alike
            value = PROBE_VALUES[(number + spread) % len(PROBE_VALUES)]
            flag = int(value != 0) if number < len(PROBE_VALUES) else (number >> (place % 5)) & 1
            numbers.append(flag if name in FLAGS else int(value) if member is int else value)
        tried.append(facts_of(kind, numbers))
    return tried


def _module(path: Path) -> ModuleType:
    try:
        if not path.is_file():
            raise BadRequest(f"there is no policy file {path}; give the path of a Python file")
        source = path.read_bytes()
    except OSError as error:
        raise BadRequest(f"policy file {path} cannot be read: {error.strerror}") from None
    if len(source) > FILE_BYTES_MAX:
        raise BadRequest(f"policy file {path} has {len(source)} bytes; the limit is {FILE_BYTES_MAX}")
    file = str(path.resolve())
    module = ModuleType(f"perdure_policy_{sha256(file.encode()).hexdigest()[:12]}")
    module.__file__ = file
    sys.modules[module.__name__] = module  # a dataclass or pickle in the file looks itself up there
    try:
        # Compiled here and not imported: no stale bytecode, and nothing is written beside the user's file.
        exec(compile(source, file, "exec"), module.__dict__)
    except SyntaxError as error:
        raise BadRequest(f"{path}:{error.lineno or 1}: not Python: {error.msg}") from None
    except (Exception, SystemExit) as error:  # a user's own code may raise anything
        raise BadRequest(
            f"{path}:{_line(error, file)}: loading the policy file raised {_named(error)}"
        ) from error
    return module


def _function(module: ModuleType, path: Path, name: str) -> FunctionType:
    value = getattr(module, name, None)
    if isinstance(value, FunctionType):
        return value
    functions = [
        key
        for key, one in vars(module).items()
        if isinstance(one, FunctionType) and one.__module__ == module.__name__
    ]
    there = f"it has {', '.join(functions)}" if functions else "it defines none"
    if value is None:
        raise BadRequest(f"{path} has no function {name!r}; {there}")
    raise BadRequest(f"{name!r} in {path} is no plain function, which a policy must be (`def`); {there}")


def _check_signature(kind: Kind, function: FunctionType, path: Path) -> None:
    where = f"{path}:{function.__code__.co_firstlineno}"
    facts = FACTS[kind].__name__
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise BadRequest(f"{where}: {function.__name__} must return a number, not wait or yield; use `def`")
    parameters = list(inspect.signature(function).parameters.values())
    if len(parameters) != 1 or parameters[0].kind not in (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    ):
        raise BadRequest(
            f"{where}: {function.__name__} takes {inspect.signature(function)}; a policy for {kind} takes "
            f"one {facts} (perdure.scheduling.facts) and nothing else"
        )


def _check_choice(kind: Kind, function: FunctionType, path: Path, facts: Any) -> None:
    where = f"{path}:{function.__code__.co_firstlineno}"
    try:
        choice: object = function(facts)
    except Exception as error:  # a user's own code may raise anything
        raise BadRequest(
            f"{path}:{_line(error, function.__code__.co_filename)}: {function.__name__} raised "
            f"{_named(error)} on {facts}; a policy answers whatever it is asked"
        ) from error
    choices = CHOICES[kind]
    if not isinstance(choice, int | float) or math.isnan(choice):
        raise BadRequest(f"{where}: {function.__name__} returned {choice!r} on {facts}; return a number")
    if choices is not None and choice not in choices:
        raise BadRequest(
            f"{where}: {function.__name__} returned {choice!r} on {facts}; a policy for {kind} returns "
            f"one of {', '.join(map(str, choices))}"
        )


def _line(error: BaseException, file: str) -> int:
    """The line of `file` that raised, or that led to what raised."""
    frames = traceback.extract_tb(error.__traceback__)
    return next((frame.lineno or 1 for frame in reversed(frames) if frame.filename == file), 1)


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
