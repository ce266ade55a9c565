"""How the user's shell learns where the server is, and the key to it."""

import argparse
import http.client
import shlex
import ssl
import sys
import urllib.parse
import urllib.request

from perdure.config import read_places
from perdure.errors import NotFound
from perdure.platform.client_file import read_client_file

ANSWER_S_MAX = 1.0


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
    if not _answers(client.base_url):
        print(
            f"perdure env: nothing answers at {client.base_url} now. Start a server, and then "
            f"this again: perdure serve --model {client.model}",
            file=sys.stderr,
        )
    return 0


def _answers(base_url: str) -> bool:
    """Whether a server of ours is there. The key is not sent, so its certificate need not be checked."""
    unchecked = ssl.create_default_context()
    unchecked.check_hostname = False
    unchecked.verify_mode = ssl.CERT_NONE
    try:
        with urllib.request.urlopen(
            urllib.parse.urljoin(base_url, "/healthz"), timeout=ANSWER_S_MAX, context=unchecked
        ) as answer:
            return bool(answer.status == 200)
    except (OSError, ValueError, http.client.HTTPException):
        return False
