"""Makes our calibration tables of NVIDIA cards from the kernel timings of LLMServingSim's profiler.

    python bench/profile_sample.py PROFILES [--out src/perdure/silicon/calibrations/cards.jsonl.gz]

PROFILES is its folder `profiler/perf`, with CARD/ORGANISATION/MODEL/bf16/tpN in it
(github.com/casys-kaist/LLMServingSim, MIT).
"""

import argparse
import gzip
import json
import re
import sys
from dataclasses import replace
from pathlib import Path

from perdure.silicon.profile import ProfiledModel, profile_records

CARDS = {"RTX4090": "nvidia-rtx-4090", "RTXPRO6000": "nvidia-rtx-pro-6000"}
LLAMA = ProfiledModel(
    hidden=4096, query_heads=32, kv_heads=8, head_channels=128, inner=14336, vocabulary=128256
)
QWEN = ProfiledModel(
    hidden=5120, query_heads=64, kv_heads=8, head_channels=128, inner=25600, vocabulary=151936
)
MIXTURE = ProfiledModel(
    hidden=2048, query_heads=32, kv_heads=4, head_channels=128, inner=None, vocabulary=151936
)
MODELS = {"Llama-3.1-8B": LLAMA, "Qwen3-32B": QWEN, "Qwen3-30B-A3B-Instruct-2507": MIXTURE}


def main() -> int:
    """Write one line per table; of two models with the same shape, the first one's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("profiles", type=Path)
    parser.add_argument("--out", type=Path, default=Path("src/perdure/silicon/calibrations/cards.jsonl.gz"))
    arguments = parser.parse_args()
    lines: dict[tuple[object, ...], str] = {}
    for folder in sorted(arguments.profiles.glob("*/*/*/bf16/tp*")):
        card, _, name, _, degree = folder.parts[-5:]
        if card in CARDS and name in MODELS:
            part = cut(MODELS[name], int(degree[2:]))
            version = f"vLLM {meta(folder, 'vllm_version')}, CUDA {meta(folder, 'cuda_version')}"
            for record in profile_records(folder, part, chip=CARDS[card], version=version):
                key = (record["chip"], record["family"], record["variant"])
                lines.setdefault(key, json.dumps(record, separators=(",", ":")))
    text = "".join(f"{line}\n" for line in lines.values())
    # No name and no time of writing: the same timings make the same bytes.
    arguments.out.write_bytes(gzip.compress(text.encode(), mtime=0))
    print(f"{len(lines)} tables, {arguments.out.stat().st_size:,} bytes: {arguments.out}")
    return 0


def cut(model: ProfiledModel, tp: int) -> ProfiledModel:
    """One chip's part under tensor parallelism."""
    return replace(
        model,
        query_heads=model.query_heads // tp,
        kv_heads=max(1, model.kv_heads // tp),
        inner=model.inner and model.inner // tp,
        vocabulary=model.vocabulary // tp,
    )


def meta(folder: Path, name: str) -> str:
    """One line of the profile's meta.yaml."""
    found = re.search(rf"^{name}: '?([^'\n]+)'?$", (folder.parent / "meta.yaml").read_text(), re.MULTILINE)
    return found[1] if found else "unknown"


if __name__ == "__main__":
    sys.exit(main())
