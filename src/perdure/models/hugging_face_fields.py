"""What a Hugging Face `config.json` says in one field, whichever of its names it goes by."""

from collections.abc import Mapping
from typing import Any, cast

Config = Mapping[str, Any]


def text_part(config: Config) -> Config:
    """What is said of the text model; its family is the whole model's where it names none."""
    text = table_of(config, "text_config")
    return {"model_type": config.get("model_type"), **text} if text else config


def family_of(text: Config) -> str:
    return str(text.get("model_type") or "").removesuffix("_text")


def list_of(config: Config, key: str) -> list[Any]:
    """The list that `config` gives for `key`; empty where it gives none."""
    value = config.get(key)
    return cast("list[Any]", value) if isinstance(value, list) else []


def table_of(config: Config, key: str) -> Config:
    """The object that `config` gives for `key`; empty where it gives none."""
    value = config.get(key)
    return cast("Config", value) if isinstance(value, dict) else {}


def int_of(config: Config, *keys: str) -> int:
    """The first of `keys` that `config` gives a number for; zero where it gives none."""
    for key in keys:
        value = config.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return 0
