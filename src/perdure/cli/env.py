"""How the user's shell learns where the server is, and the key to it."""

import argparse
import shlex

from perdure.config import read_places
from perdure.errors import NotFound
from perdure.platform.client_file import read_client_file


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = 'In a shell: eval "$(perdure env)"'


def run(arguments: argparse.Namespace) -> int:
    """Print the exports that point OpenAI clients, and Perdure's own commands, at the user's server."""
    places = read_places()
    client = read_client_file(places.client_file)
    if client is None:
        raise NotFound(f"there is no {places.client_file} yet; start a server once: perdure serve")
    for name, value in (
        ("OPENAI_BASE_URL", client.base_url),
        ("OPENAI_API_KEY", client.api_key),
        ("PERDURE_BASE_URL", client.base_url),
        ("PERDURE_API_KEY", client.api_key),
    ):
        print(f"export {name}={shlex.quote(value)}")
    return 0
