"""A `llama-server` without a model: takes the flags, keeps the API, and misbehaves on demand.

It reads `control.json` in its own folder at every request ({"mode": ..., "text": ...}), and appends what it
was started with and asked to `started.jsonl` and `asked.jsonl` there.
"""

import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
FLAGS = dict(zip(sys.argv[1:], [*sys.argv[2:], ""], strict=True))


def control() -> dict[str, Any]:
    return json.loads((FOLDER / "control.json").read_text())


def note(file: str, what: dict[str, Any]) -> None:
    with (FOLDER / file).open("a") as out:
        out.write(json.dumps(what) + "\n")


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        slot_tokens = int(FLAGS["--ctx-size"]) // int(FLAGS["--parallel"]) // control().get("divide", 1)
        self.answer({"status": "ok", "default_generation_settings": {"n_ctx": slot_tokens}})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.headers["authorization"] != f"Bearer {os.environ['LLAMA_API_KEY']}":
            return self.answer({"error": {"message": "Invalid API Key"}}, 401)
        note("asked.jsonl", {"path": self.path, "body": body})
        if self.path == "/apply-template":
            return self.answer({"prompt": "".join(f"[{m['role']}]{m['content']}" for m in body["messages"])})
        if self.path == "/tokenize":
            return self.answer({"tokens": [ord(character) for character in body["content"]]})
        return self.complete(body)

    def complete(self, body: dict[str, Any]) -> None:
        if "json_schema" in body and "pattern" in body["json_schema"]:
            return self.answer({"error": {"message": "Pattern must start with '^'"}}, 400)
        mode, text = control()["mode"], control().get("text", "Hello there.")
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        for piece in (text[:5], text[5:]):
            self.send({"content": piece, "stop": False})
            if mode == "die":
                print("a last word", file=sys.stderr, flush=True)
                os.kill(os.getpid(), signal.SIGKILL)
            if mode == "abort":
                os.abort()
            if mode == "hang up":
                return None
            if mode == "nonsense":
                self.wfile.write(b"data: {what}\n\n")
                return None
            if mode == "complain":
                self.wfile.write(b'error: {"error":{"message":"out of memory"}}\n\n')
                return None
        timings = {"cache_n": 3, "prompt_n": 4, "prompt_ms": 12.0, "predicted_n": 2, "predicted_ms": 30.0}
        last = {"content": "", "stop": True, "stop_type": "eos", "tokens_predicted": 2, "timings": timings}
        return self.send(last)

    def send(self, event: dict[str, Any]) -> None:
        self.wfile.write(b"data: " + json.dumps(event).encode() + b"\n\n")
        self.wfile.flush()

    def answer(self, body: dict[str, Any], status: int = 200) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)


def main() -> None:
    environment = {key: os.environ.get(key) for key in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    note("started.jsonl", {"argv": sys.argv[1:], "pid": os.getpid(), "environment": environment})
    if control()["mode"] == "no start":
        sys.exit("error: cannot load that model")
    ThreadingHTTPServer((FLAGS["--host"], int(FLAGS["--port"])), Handler).serve_forever()


if __name__ == "__main__":
    main()
