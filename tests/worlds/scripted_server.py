"""A server of ours whose model is scripted, in a process that outlives the sessions; started by the worlds.

    scripted_server.py HOME ANNOUNCE PARENT_PID

It writes {"base_url", "api_key"} to ANNOUNCE once it answers. The script calls the five tools of
kill_child.py in turn, as often as the goal's last word says, and then says `done`. Its `/metrics` count
what it generated.
"""

import asyncio
import json
import logging
import sys
from pathlib import Path

from perdure.clock import SystemClock
from perdure.config import read_places
from perdure.dialects.item import Call, FunctionCall, Message
from perdure.engines.scripted import Reply, ScriptedEngine
from perdure.platform.platform import WORKSPACE, Platform
from perdure.platform.server import bind, serve
from perdure.processes import die_with_parent

TOOLS = ("look", "count", "pay", "send", "shout")


def main() -> None:
    home, announce, parent_pid = sys.argv[1:]
    die_with_parent(int(parent_pid))
    logging.basicConfig(level=logging.WARNING)
    clock = SystemClock()

    def script(call: Call) -> Reply:
        turn = sum(1 for item in call.items if isinstance(item, FunctionCall))
        goal = next(item.text for item in call.items if isinstance(item, Message) and item.role == "user")
        if turn == int(goal.split()[-1]):
            return "done"
        arguments = json.dumps({"n": turn})
        return FunctionCall(call_id=f"call_{turn}", name=TOOLS[turn % len(TOOLS)], arguments=arguments)

    engine = ScriptedEngine(clock=clock, answers=script, window_tokens=100_000, slots=4)
    platform = Platform(engines=[engine], places=read_places({"PERDURE_HOME": home}), clock=clock)
    socket = bind("127.0.0.1", 0)
    key = platform.keys.make(WORKSPACE)

    def ready() -> None:
        address = f"http://127.0.0.1:{socket.getsockname()[1]}/v1"
        text = json.dumps({"base_url": address, "api_key": key})
        Path(announce + ".part").write_text(text)
        Path(announce + ".part").rename(announce)

    asyncio.run(serve(platform, [socket], on_ready=ready))


if __name__ == "__main__":
    main()
