"""How the owner of a server finds it again: address, key and model in a file that nobody else can read."""

from pathlib import Path

import msgspec

from perdure.errors import BadRequest
from perdure.platform.secret_file import replace_private


class ClientFile(msgspec.Struct, frozen=True, kw_only=True):
    """What `perdure env` prints and `perdure run` uses. `base_url` ends in `/v1`."""

    base_url: str
    api_key: str
    model: str


def read_client_file(path: Path) -> ClientFile | None:
    """What the file says, or None when there is none."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BadRequest(f"cannot read {path}: {error.strerror}. Give it back to its owner") from error
    try:
        return msgspec.json.decode(text, type=ClientFile)
    except msgspec.DecodeError as error:
        raise BadRequest(
            f"{path} is not a client file: {error}. Delete it; `perdure serve` writes it anew"
        ) from error


def write_client_file(path: Path, client: ClientFile) -> None:
    """Replace the file, mode 0600."""
    replace_private(path, msgspec.json.format(msgspec.json.encode(client), indent=2).decode() + "\n")
