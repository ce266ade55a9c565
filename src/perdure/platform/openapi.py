"""How the server describes itself to programs."""

from typing import Any


def description() -> dict[str, Any]:
    """The OpenAPI document of every endpoint."""
    return {"openapi": "3.1.0", "info": {"title": "Perdure", "version": "0"}, "paths": {}}
