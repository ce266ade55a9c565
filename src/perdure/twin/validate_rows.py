"""Which measured end-to-end rows there are to be scored on, and what each of them lacks.

Reads `silicon_sample.csv` of aiconfigurator-core 0.12.0 (Apache-2.0; dumps of the InferenceX database and of
NVIDIA's own runs): one closed-loop run a row, with its mean time per output token.
"""

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from perdure.errors import BadRequest

SAMPLE_NAME = "silicon_sample.csv of aiconfigurator-core"
# Those that are read; the file has more.
COLUMNS = (
    *("id", "silicon_data_source", "backend", "backend_version", "model_path", "system", "precision", "mode"),
    *("isl", "osl", "batch_size", "tp_size", "attention_dp_size", "moe_tp_size", "moe_ep_size"),
    "decode_num_workers",
    *("decode_tp_size", "decode_attention_dp_size", "decode_moe_tp_size", "decode_moe_ep_size"),
    *("silicon_ttft_ms", "silicon_tpot_ms"),
)

Split = Literal["fit", "held-out", "all"]

# By the last part of `model_path`, without the suffix that names a precision.
HELD_OUT = ("Qwen3-32B", "Qwen3-235B-A22B", "Qwen3.5-397B-A17B", "Kimi-K2.5", "GLM-5")
FIT = ("Llama-3.1-8B", "Llama-3.1-70B", "gpt-oss-120b", "DeepSeek-V3", "MiniMax-M2.5")

# R1 and V3.1 have V3's shape to the last weight, and the dumps name one run after either of them.
_SAME_SHAPE = {"DeepSeek-R1": "DeepSeek-V3", "DeepSeek-V3.1": "DeepSeek-V3"}
_MIXTURES = ("gpt-oss-120b", "DeepSeek-V3", "MiniMax-M2.5", *HELD_OUT[1:])
_PRECISION_SUFFIX = re.compile(r"-(Instruct-)?(FP8|NVFP4|Instruct)$")
_CONCURRENCY = re.compile(r"silicon_concurrency=(\d+)")
_LAYOUT_IN_ID = re.compile(r"_tp(\d+)(?:_0)?_ep(\d+)")
_OVERLAPPED = {"vllm": (0, 14, 0), "sglang": (0, 5, 7)}
_FIXED_LENGTHS = "aic-auto-gap-analysis"  # NVIDIA's own runs; the rest are InferenceX's
SLOW_BEHIND_ONE_ADDRESS = "1.3.0rc1"  # of TensorRT-LLM: several servers take tens of ms a token, one does not
_BOARD_CHIPS = 8  # the largest group that these boards hold; only GB200 and GB300 racks join more


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How one replica lies on its chips: attention over `tp` in `dp` groups, experts over `moe_tp` x `ep`."""

    tp: int
    dp: int
    moe_tp: int
    ep: int

    @property
    def chips(self) -> int:
        """Chips of the replica."""
        return self.tp * self.dp


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measured run.

    precision           of the weights; taken from `model_path` where the column was empty
    precision_inferred  whether it was
    replicas            servers, or decode workers, that share the concurrency
    lengths_vary        whether lengths were drawn evenly from 80 to 100 % of the nominal ones (InferenceX)
    lacks               why nobody could compute it, or None
    """

    id: str
    model: str
    system: str
    backend: str
    version: str
    precision: str
    precision_inferred: bool
    disaggregated: bool
    layout: Layout
    replicas: int
    lengths_vary: bool
    input_tokens: int
    output_tokens: int
    concurrency: int
    ttft_s: float
    tpot_s: float
    lacks: str | None = None

    @property
    def in_step(self) -> bool:
        """Whether clients of fixed lengths stay in step; those on H200 do not (rows of the fit split)."""
        return not self.lengths_vary and self.system != "h200_sxm"

    @property
    def generation(self) -> str:
        """Stack and generation of its software: what it spends between steps fell sharply around 2026-01.

        vLLM before 0.14 and SGLang before 0.5.7 prepare a step after the one before it; TensorRT-LLM 1.0 too.
        A row without a version was measured in late 2025, a nightly or a branch in 2026.
        """
        numbers = tuple(int(word) for word in re.findall(r"\d+", self.version.split("post")[0])[:3])
        if self.backend == "trtllm" and self.version == SLOW_BEHIND_ONE_ADDRESS and self.replicas > 1:
            return f"trtllm-{self.version}"
        if self.backend == "trtllm":
            return "trtllm-1.0" if numbers[:2] == (1, 0) else "trtllm"
        if not self.version or (self.version[0].isdigit() and numbers < _OVERLAPPED[self.backend]):
            return f"{self.backend}-2025"
        return self.backend

    @property
    def split(self) -> Split:
        """Whether anything may be fitted to this row."""
        return "held-out" if self.model in HELD_OUT else "fit"

    @property
    def setting(self) -> tuple[object, ...]:
        """What was run, apart from what came out of it and from the version of the server."""
        return (
            self.model,
            self.system,
            self.backend,
            self.precision,
            self.disaggregated,
            self.layout,
            self.replicas,
            self.input_tokens,
            self.output_tokens,
            self.concurrency,
        )


def read_rows(path: Path) -> tuple[Row, ...]:
    """All rows of `path`, in its order; duplicates are still in it.

    Raises BadRequest where it cannot be read, lacks a column, has no rows, or one that makes no sense.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            table = csv.DictReader(file)
            _check_columns(path, table.fieldnames or ())
            rows = tuple(_read_row(path, table.line_num, fields) for fields in table)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadRequest(f"{path}: cannot be read as a CSV of measured rows: {error}") from error
    if not rows:
        raise BadRequest(f"{path}: has no rows; give a copy of {SAMPLE_NAME}")
    return rows


def without_duplicates(rows: Iterable[Row]) -> tuple[Row, ...]:
    """Each run once: rows of one setting whose TTFT and TPOT agree to three digits are copies.

    The dumps repeat each other, some with rounded figures, and name the same run DeepSeek-R1 and DeepSeek-V3.
    """
    seen: dict[tuple[object, ...], Row] = {}
    for row in rows:
        seen.setdefault((row.setting, f"{row.ttft_s:.2e}", f"{row.tpot_s:.2e}"), row)
    return tuple(seen.values())


def of_split(rows: Iterable[Row], split: Split) -> tuple[Row, ...]:
    """The rows of `split`."""
    return tuple(row for row in rows if split in ("all", row.split))


def _check_columns(path: Path, names: Sequence[str]) -> None:
    missing = [name for name in COLUMNS if name not in names]
    if missing:
        raise BadRequest(
            f"{path}: lacks the columns {', '.join(missing)}; give a copy of {SAMPLE_NAME}, which has them"
        )


def _read_row(path: Path, line: int, fields: Mapping[str, str | None]) -> Row:
    cells = {name: fields.get(name) for name in COLUMNS}
    whole = {name: cell for name, cell in cells.items() if cell is not None}
    if len(whole) < len(COLUMNS):
        raise BadRequest(f"{path}: line {line}: ends before its last column")
    try:
        return _row(whole)
    except (ValueError, OverflowError) as error:
        raise BadRequest(f"{path}: line {line}: a number makes no sense: {error}") from error


def _row(fields: Mapping[str, str]) -> Row:
    name = fields["model_path"].rsplit("/", 1)[-1]
    model = _PRECISION_SUFFIX.sub("", name)
    model = _SAME_SHAPE.get(model, model)
    if model not in FIT and model not in HELD_OUT:
        raise BadRequest(f"{fields['id']}: {model} is in neither split; add it to FIT or HELD_OUT")
    disaggregated = fields["mode"] == "disagg"
    fixed_lengths = _FIXED_LENGTHS in fields["silicon_data_source"]
    found = _CONCURRENCY.search(fields["silicon_data_source"])
    concurrency = int(found[1]) if found else 0
    layout = _layout(
        fields, "decode_" if disaggregated else "", mixture=model in _MIXTURES, squares=not fixed_lengths
    )
    row = Row(
        id=fields["id"],
        model=model,
        system=fields["system"],
        backend=fields["backend"],
        version=fields["backend_version"],
        precision=fields["precision"] or _precision_of(name),
        precision_inferred=not fields["precision"],
        disaggregated=disaggregated,
        layout=layout,
        replicas=_whole(fields["decode_num_workers"])
        if disaggregated
        else _servers(fields, concurrency, layout)
        if fixed_lengths
        else 1,
        lengths_vary=not fixed_lengths,
        input_tokens=int(fields["isl"]),
        output_tokens=int(fields["osl"]),
        concurrency=concurrency,
        ttft_s=float(fields["silicon_ttft_ms"] or 0) / 1e3,
        tpot_s=float(fields["silicon_tpot_ms"] or 0) / 1e3,
    )
    return replace(row, lacks=_lack(row))


def _precision_of(name: str) -> str:
    if name.endswith("NVFP4"):
        return "fp4"
    return "fp8" if "FP8" in name else "bf16"


def _lack(row: Row) -> str | None:
    if row.tpot_s <= 0:
        return "no time per output token"
    if row.disaggregated and row.replicas == 0:
        return "disaggregated without worker counts"
    if row.concurrency == 0:
        return "no concurrency"
    if row.layout.chips > _BOARD_CHIPS:
        return "chips of the whole deployment written as one tensor-parallel group"
    return None


def _servers(fields: Mapping[str, str], concurrency: int, layout: Layout) -> int:
    """Aggregated servers behind one address, in NVIDIA's own runs: a rank of one has `batch_size` clients."""
    clients = _whole(fields["batch_size"]) * layout.dp
    return max(1, concurrency // clients) if clients else 1


def _layout(fields: Mapping[str, str], prefix: str, *, mixture: bool, squares: bool) -> Layout:
    """The layout as it ran. Where the id names it, the id is right: the columns multiply TP by EP.

    NVIDIA's own runs have no such `squares`. A row whose id says `tp8_ep8` has tp_size 64, or tp_size 1 under
    attention_dp_size 64, for a server of 8 chips; rows of one dump without the layout in their id show the
    same squares.
    """
    tp, dp, moe_tp, ep = (
        max(1, _whole(fields[prefix + column]))
        for column in ("tp_size", "attention_dp_size", "moe_tp_size", "moe_ep_size")
    )
    if not mixture:
        return Layout(tp=tp, dp=1, moe_tp=tp, ep=1)
    named = None if prefix or not squares else _LAYOUT_IN_ID.search(fields["id"])
    if not fields[prefix + "attention_dp_size"]:
        dp = max(1, moe_tp * ep // tp)
    chips, experts = (int(named[1]), int(named[2])) if named else (tp * dp, ep)
    if squares and not named and moe_tp == ep and moe_tp * ep == tp * dp and ep > 1:
        chips = ep
    if squares and not named and dp > 1 and tp == dp and ep == tp * dp:
        chips = experts = tp
    groups = min(dp, chips) if dp > 1 and (tp == 1 or not fields[prefix + "attention_dp_size"]) else 1
    return Layout(
        tp=chips // groups,
        dp=groups,
        moe_tp=max(1, chips // experts),
        ep=min(experts, chips),
    )


def _whole(text: str) -> int:
    return int(float(text)) if text else 0
