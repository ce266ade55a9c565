"""Five tools, one of each class of effect, acting on a folder of append-only files."""

from pathlib import Path

from perdure import Effect, ToolContext, tool


def lines(context: ToolContext, name: str) -> list[str]:
    """What was done to the world under `name` so far: one idempotency key a line."""
    path = Path(str(context.settings["world"])) / name
    return path.read_text().splitlines() if path.exists() else []


def act(context: ToolContext, name: str) -> None:
    """Do something to the world. kill_child.py dies in here."""
    with (Path(str(context.settings["world"])) / name).open("a") as file:
        file.write(f"{context.key}\n")


@tool(effect=Effect.REPEATABLE)
def look(context: ToolContext, n: int) -> str:
    """Look at the world: no effect, so it may be done again."""
    act(context, "look")
    return f"looked {n}"


@tool(effect=Effect.TRANSACTIONAL)
def count(context: ToolContext, n: int) -> str:
    """Add to the session's own counter."""
    act(context, "count")
    context.state["counter"] = context.state.get("counter", 0) + n
    return f"counter {context.state['counter']}"


@tool(effect=Effect.KEYED)
def pay(context: ToolContext, n: int) -> str:
    """Pay: the other side keeps the keys it has seen and does each once."""
    if context.key not in lines(context, "pay"):
        act(context, "pay")
    return f"paid {n}"


def was_sent(context: ToolContext, n: int) -> str | None:
    """Whether the letter of this key arrived."""
    return f"sent {n}" if context.key in lines(context, "send") else None


@tool(effect=Effect.VERIFIABLE, verify=was_sent)
def send(context: ToolContext, n: int) -> str:
    """Send a letter: whether it arrived can be looked up."""
    act(context, "send")
    return f"sent {n}"


@tool(effect=Effect.BLIND)
def shout(context: ToolContext, n: int) -> str:
    """Shout: nobody can tell afterwards."""
    act(context, "shout")
    return f"shouted {n}"
