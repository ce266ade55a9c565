"""The same policies as functions that a compiled kernel calls, each by its kind's type.

Importing this module imports numba, which a server must not. A kernel that takes arguments of `ORDER`,
`PLACE`, `ADMIT` and `RETAIN` is compiled once and takes any policy of that kind. A compiled policy is cached
on disk under everything that it reads: its code, the functions it calls, their constants, the facts' layout.
"""

import dis
import hashlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, cast

from numba import njit, types  # pyright: ignore[reportUnknownVariableType]
from numba.core.errors import NumbaError

from perdure.errors import BadRequest
from perdure.scheduling.facts import Candidate, Entering, Idle, Waiting
from perdure.scheduling.fair import Tenant
from perdure.scheduling.policies import FACTS, Kind
from perdure.scheduling.policy_file import probes

CALL_DEPTH_MAX = 8
ARITHMETIC = (
    "A policy is arithmetic (+ - * /), min, max and comparisons over its facts; "
    "for more, `from perdure.scheduling.facts import exp, log`"
)

_numba = cast(Any, types)
_njit = cast(Any, njit)
_MEMBERS = {float: _numba.float64, int: _numba.int64}


def facts_type(facts: type[tuple[Any, ...]]) -> Any:
    """The numba type of a NamedTuple of floats and whole numbers."""
    return _numba.BaseTuple.from_types([_MEMBERS[member] for member in facts.__annotations__.values()], facts)


SIGNATURES: Mapping[Kind, Any] = {
    "order": _numba.float64(facts_type(Waiting)),
    "place": _numba.float64(facts_type(Candidate)),
    "admit": _numba.int64(facts_type(Entering)),
    "retain": _numba.int64(facts_type(Idle)),
}
SHARE_SIGNATURE = _numba.float64(facts_type(Tenant))

# The types that a kernel's signature names.
ORDER, PLACE, ADMIT, RETAIN = (_numba.FunctionType(SIGNATURES[kind]) for kind in FACTS)


def compile_policy(kind: Kind, function: Callable[[Any], float]) -> Any:
    """`function` for a compiled kernel: cached on disk where that can be written, compiled otherwise.

    BadRequest names the line that numba cannot compile, and why; or facts on which the compiled form
    answers otherwise: it takes powers or roots, or whole numbers that overflow, where the two worlds differ.
    """
    policy = compile_function(SIGNATURES[kind], function)
    for facts in probes(kind):
        plain, code = function(facts), cast(FunctionType, function).__code__
        try:
            answer = policy(facts)
        except Exception as error:  # a user's own code may raise anything
            raise BadRequest(
                f"{code.co_filename}:{code.co_firstlineno}: policy {function.__name__} answers {plain!r} in "
                f"Python and raises {type(error).__name__} compiled, on {facts}. {ARITHMETIC}"
            ) from error
        if plain != answer:
            raise BadRequest(
                f"{code.co_filename}:{code.co_firstlineno}: policy {function.__name__} answers {plain!r} in "
                f"Python and {answer!r} compiled, on {facts}. {ARITHMETIC}"
            )
    return policy


def compile_function(signature: Any, function: Callable[[Any], float]) -> Any:
    """A plain function over facts, with the plain functions that it calls, under `signature`."""
    closed = _closed(cast(FunctionType, function), ())
    closed.__qualname__ = f"{function.__name__}_{_fingerprint(signature, closed)}"
    try:
        return _compile(signature, closed)
    except Exception as error:  # what numba cannot compile it may refuse, or stumble over
        raise BadRequest(_refusal(function, error)) from error


def _compile(signature: Any, function: FunctionType) -> Any:
    try:
        return _njit(signature, cache=True)(function)
    except NumbaError:  # some of them are RuntimeErrors too
        raise
    except (OSError, RuntimeError):  # no folder for the cache can be written: then not cached
        return _njit(signature)(function)


def _closed(function: FunctionType, callers: tuple[str, ...]) -> FunctionType:
    """A copy of `function` in which plain functions that it calls are compiled ones."""
    if function.__name__ in callers or len(callers) >= CALL_DEPTH_MAX:
        raise BadRequest(
            f"policy {callers[0] if callers else function.__name__} calls itself, or functions more than "
            f"{CALL_DEPTH_MAX} deep; write it without"
        )
    reads: dict[str, Any] = {"__name__": function.__module__, "__builtins__": __builtins__}
    for name in _global_names(function.__code__):
        if name in function.__globals__:
            value = function.__globals__[name]
            if isinstance(value, FunctionType):
                value = _njit(_closed(value, (*callers, function.__name__)))
            reads[name] = value
    copy = FunctionType(
        function.__code__, reads, function.__name__, function.__defaults__, function.__closure__
    )
    copy.__module__ = function.__module__
    return copy


def _fingerprint(signature: Any, function: FunctionType) -> str:
    """Of all that the compiled code depends on and numba's own cache key does not see."""
    digest = hashlib.sha256(Path(__file__).read_bytes())  # how it is compiled, this module says
    facts = signature.args[0].instance_class
    digest.update(repr((facts.__module__, facts.__name__, facts._fields, str(signature))).encode())
    _feed(digest, function)
    return digest.hexdigest()[:16]


def _feed(digest: Any, function: FunctionType) -> None:
    code = function.__code__
    digest.update(repr((code.co_code, code.co_names, function.__defaults__)).encode())
    for constant in code.co_consts:
        digest.update(constant.co_code if isinstance(constant, CodeType) else repr(constant).encode())
    for name in _global_names(code):
        value = function.__globals__.get(name)
        called = getattr(value, "py_func", None)
        if isinstance(called, FunctionType):
            _feed(digest, called)
        else:
            digest.update(repr((name, value)).encode())


def _global_names(code: CodeType) -> list[str]:
    return sorted({str(step.argval) for step in dis.get_instructions(code) if step.opname == "LOAD_GLOBAL"})


def _refusal(function: Callable[[Any], float], error: Exception) -> str:
    """The line, as numba has it or says at the end of its message, and the first reason that it gives."""
    code = cast(FunctionType, function).__code__
    location = getattr(error, "loc", None)
    file = getattr(location, "filename", None) or code.co_filename
    said = re.search(r"\((\d+)\)\s*$", str(error))
    line = getattr(location, "line", None) or (said and said[1]) or code.co_firstlineno
    reasons = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = next((one for one in reasons if not one.startswith("Failed in")), "no reason given")
    why = reason.rstrip(".:")
    return f"{file}:{line}: policy {function.__name__} cannot be compiled: {why}. {ARITHMETIC}"
