"""The shell as a tool: one command line in the sandbox, its output cut to what a model can read."""

from typing import Annotated

import msgspec

from perdure.agents.tools import Effect, ToolContext, tool

OUTPUT_CHARS_MAX = 4000
COMMAND_S_MAX = 120.0


@tool(effect=Effect.BLIND)
def shell(context: ToolContext, command: Annotated[str, msgspec.Meta(min_length=1, max_length=2000)]) -> str:
    """Run one bash command line in the workspace folder. No network. Prints the exit code and the output."""
    ended = context.sandbox.run(["/bin/bash", "-c", command], timeout_s=COMMAND_S_MAX)
    code = (
        f"no end after {COMMAND_S_MAX:.0f} s" if ended.exit_code is None else f"exit code {ended.exit_code}"
    )
    output = "\n".join(part for part in (ended.stdout.rstrip(), ended.stderr.rstrip()) if part)
    return f"{code}\n{shorten(output)}" if output else code


def shorten(text: str, chars_max: int = OUTPUT_CHARS_MAX) -> str:
    """`text`, with its middle left out (and said so) when it is longer than `chars_max`."""
    if len(text) <= chars_max:
        return text
    head = chars_max * 2 // 3
    tail = chars_max - head
    return f"{text[:head]}\n[... {len(text) - chars_max} characters left out ...]\n{text[-tail:]}"
