"""Laws of the OpenAPI document: it describes every route, and every name in it leads somewhere."""

import re
from collections.abc import Iterator
from pathlib import Path

from jsonschema import Draft202012Validator

from perdure.clock import VirtualClock
from perdure.config import Places
from perdure.dialects.item import Caller
from perdure.dialects.openai_chat import read_chat
from perdure.dialects.openai_responses import read_responses
from perdure.errors import BadRequest
from perdure.platform.app import build_app
from perdure.platform.openapi import description


def test_every_route_is_described_with_its_methods(tmp_path: Path) -> None:
    """Neither more nor less than what the app answers."""
    places = Places(cache_dir=tmp_path, data_dir=tmp_path / "data", config_dir=tmp_path)
    app = build_app(engines=[], places=places, clock=VirtualClock())
    there = {
        (re.sub(r":\w+}", "}", route.path), method.lower())
        for route in app.routes
        for method in route.methods - {"HEAD"}
    }
    described = {(path, method) for path, methods in description()["paths"].items() for method in methods}
    assert described == there


def test_every_reference_leads_somewhere() -> None:
    """Each $ref names a schema of the document, and each schema is one."""
    document = description()
    schemas = document["components"]["schemas"]
    assert {ref.rpartition("/")[2] for ref in _references(document)} <= set(schemas)
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)


def test_every_described_parameter_is_read() -> None:
    """None of them is refused as unknown; what is wrong with a value is another matter."""
    samples = {"chat": {"model": "m", "messages": []}, "responses": {"model": "m", "input": "x"}}
    for name, kind, read in (
        ("ChatRequest", "chat", read_chat),
        ("ResponsesRequest", "responses", read_responses),
    ):
        for parameter in description()["components"]["schemas"][name]["properties"]:
            try:
                read({**samples[kind], parameter: ["odd"]}, Caller())
            except BadRequest as refused:
                message = refused.message
                assert "is not a parameter" not in message, parameter


def _references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for inner in value.values():
            yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)
