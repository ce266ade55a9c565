"""What `import perdure` and `perdure --help` cost beside a bare interpreter: medians of 15.

    .venv/bin/python bench/startup.py

Targets: import under 0.15 s, --help under 0.3 s, the interpreter included.
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

ROUNDS = 15
PERDURE = str(Path(sys.executable).parent / "perdure")
CASES = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import perdure": [sys.executable, "-c", "import perdure"],
    "perdure --help": [PERDURE, "--help"],
    "perdure --version": [PERDURE, "--version"],
    "perdure run --help": [PERDURE, "run", "--help"],
    "perdure serve --help": [PERDURE, "serve", "--help"],
}


def main() -> None:
    taken: dict[str, list[float]] = {name: [] for name in CASES}
    for _ in range(ROUNDS):
        for name, words in CASES.items():
            started = time.perf_counter()
            subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
            taken[name].append(time.perf_counter() - started)
    for name, seconds in taken.items():
        print(f"{name:22} {statistics.median(seconds) * 1000:7.1f} ms  (least {min(seconds) * 1000:.1f})")


if __name__ == "__main__":
    main()
