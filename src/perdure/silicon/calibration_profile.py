"""How far a card falls short of its roofline where vLLM's own kernels were timed on it, one layer at a time.

Tables are made by `bench/profile_sample.py` from LLMServingSim's profiles (MIT). A kernel of the same shape
takes what was timed; one of another shape as many times its floor as the nearest timed one takes of its own,
within a range; what has no like, such as a link or another number format, is left to `otherwise`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from perdure.catalog.figure import Case, Status
from perdure.catalog.load import load_catalog
from perdure.silicon.calibration_software import Software
from perdure.silicon.calibration_table import FOLDER, Table, tables_of
from perdure.silicon.chip import Chip, chip_at
from perdure.silicon.efficiency import Efficiency, Factor, Timed
from perdure.silicon.profile import BESIDE_TOKENS
from perdure.silicon.ranges import Range, exactly
from perdure.silicon.roofline import parts_s
from perdure.silicon.shapes import Attention, Elementwise, Gemm, Message, Shape

PATH = FOLDER / "cards.jsonl.gz"
CHUNK_TOKENS = 2048  # the longest chunk that was timed
FAR_LOW, FAR_HIGH = 0.9, 1.2  # for each octave between a shape and the nearest timed one
FAR_OCTAVES_MAX = 4.0
# act_fn, layernorm and rotary_emb of the same profiles: 1.9 to 3.3 us up to 64 tokens on either card; with
# more of them, no slower than the memory, as what they read is still in the cache behind which it lies.
STREAM_S = 2.5e-6

_SOURCE = "LLMServingSim profiler/perf (MIT)"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Timing:
    """Seconds of one kernel, how many octaves from a timed shape, and whose table says so."""

    seconds: float
    far: float
    table: Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Profiled:
    """Kernels of `chip` in `tables`, timed at the peaks of `card`; `otherwise` answers for the rest."""

    chip: str
    card: Chip
    tables: Mapping[str, Table]
    software: Software
    otherwise: Efficiency

    @property
    def name(self) -> str:
        """What a result calls it."""
        return f"vLLM's kernels timed on {self.chip}, software of {self.software.name}"

    def factor(self, shape: Shape, chip: Chip) -> Factor:
        """Measured over floor."""
        if isinstance(shape, Elementwise):
            source = f"{_SOURCE}, act_fn, layernorm and rotary_emb on {self.chip}"
            added_s = exactly(STREAM_S)
            return Factor(times=exactly(1.0), launch_s=added_s, status=Status.MEASURED, source=source)
        timing = self._timing(shape, self.card)
        if timing is None:
            return self.otherwise.factor(shape, chip)
        assert not isinstance(shape, Message), "links were not timed"
        parts_there, parts_here = parts_s(shape, self.card), parts_s(shape, chip)
        timed = Timed(
            seconds=max(timing.seconds, *parts_there),
            flow_s=parts_there[0],
            fetch_s=parts_there[1],
            least_s=min(timing.seconds, STREAM_S),
        )
        times = max(1.0, timed.carried_s(*parts_here) / max(parts_here))
        added_s = exactly(self._added_s(shape))
        source = (
            f"{_SOURCE}, {timing.table.family} {timing.table.variant} on {self.chip}, {timing.table.version}"
        )
        if timing.far == 0.0:
            return Factor(
                times=exactly(times), launch_s=added_s, timed=timed, status=Status.MEASURED, source=source
            )
        low, high = times * FAR_LOW**timing.far, times * FAR_HIGH**timing.far
        return Factor(
            times=Range(low=max(1.0, low), mid=times, high=high),
            launch_s=added_s,
            timed=timed,
            status=Status.ESTIMATE,
            source=f"the nearest timed kernel, {source}",
            chance=f"efficiency/{self.chip}",
        )

    def step(self, chip: Chip) -> Factor:
        """What software spends between two steps."""
        del chip
        return Factor(
            times=exactly(1.0),
            launch_s=exactly(self.software.step_s),
            status=Status.MEASURED,
            source=self.software.source,
        )

    def _added_s(self, shape: Shape) -> float:
        """The sampler's kernels, and what software does for each sequence, along with the head."""
        if not isinstance(shape, Gemm) or shape.family != "head":
            return 0.0
        sampler = self.tables.get(f"sampler/{shape.outputs:.0f}")
        kernel_s = sampler.seconds(shape.rows) if sampler else 0.0
        return kernel_s + self.software.sequence_s * shape.rows

    def _timing(self, shape: Shape, chip: Chip) -> _Timing | None:
        match shape:
            case Gemm() if shape.weights == "bf16" and shape.copies == 1.0:
                return self._gemm(shape, chip)
            case Attention() if _plain(shape):
                return self._attention(shape)
            case _:
                return None

    def _gemm(self, shape: Gemm, chip: Chip) -> _Timing | None:
        """The same matrix; else the nearest one, in proportion to the floors of the two."""
        wanted = (shape.outputs, shape.inputs)
        found = self._nearest("gemm/bf16/", wanted)
        if found is None:
            return None
        table, (outputs, inputs), far = found
        there = Gemm(
            rows=shape.rows,
            outputs=outputs,
            inputs=inputs,
            weights=shape.weights,
            weight_bytes=shape.weight_bytes,
            arithmetic=shape.arithmetic,
        )
        scale = _floor_s(shape, chip) / _floor_s(there, chip)
        return _Timing(seconds=table.seconds(shape.rows) * scale, far=far, table=table)

    def _attention(self, shape: Attention) -> _Timing | None:
        """The same heads; else the nearest ones, by what a prompt computes or a decode reads."""
        wanted = (shape.query_heads, shape.kv_heads, shape.key_channels)
        decodes = shape.phase == "decode"
        found = self._nearest(f"attention_{'decode' if decodes else 'chunk'}/bf16/", wanted)
        if found is None:
            return None
        table, (query_heads, kv_heads, channels), far = found
        if decodes:
            each = shape.context_tokens / max(shape.sequences, 1e-9)
            seconds = table.seconds(shape.sequences, each) * shape.kv_heads / kv_heads
            seconds *= self._beside(shape, table)
        else:
            seconds = _chunk_s(table, shape) * shape.query_heads / query_heads
        return _Timing(seconds=seconds * shape.key_channels / channels, far=far, table=table)

    def _beside(self, shape: Attention, alone: Table) -> float:
        """How many times as long decodes take in a step with prompts: FlashAttention 2 then does them as it
        does prompts, a block of queries for each, most of which is empty."""
        beside = self.tables.get(f"attention_beside/{alone.variant}")
        if beside is None or not shape.beside_prompt:
            return 1.0
        times = beside.seconds(shape.sequences) / alone.seconds(shape.sequences, BESIDE_TOKENS)
        return max(1.0, times)

    def _nearest(
        self, family: str, wanted: tuple[float, ...]
    ) -> tuple[Table, tuple[float, ...], float] | None:
        """The table of `family` whose sizes are nearest, those sizes, and the distance in octaves."""
        near: tuple[float, str, tuple[float, ...]] | None = None
        for key in self.tables:
            if not key.startswith(family):
                continue
            sizes = tuple(float(size) for size in key.removeprefix(family).split("x"))
            far = sum(abs(math.log2(one / other)) for one, other in zip(sizes, wanted, strict=True))
            if near is None or (far, key) < near[:2]:
                near = (far, key, sizes)
        if near is None or near[0] > FAR_OCTAVES_MAX:
            return None
        far, key, sizes = near
        return self.tables[key], sizes, far


def profiled(chip_id: str, software: Software, otherwise: Efficiency) -> Efficiency:
    """`otherwise`, under what was timed of vLLM's kernels on the chip called `chip_id`, if anything was."""
    tables = tables_of(chip_id, "any", PATH)
    if not tables:
        return otherwise
    card = chip_at(load_catalog().chip(chip_id), Case.MID)
    return Profiled(chip=chip_id, card=card, tables=tables, software=software, otherwise=otherwise)


def _plain(shape: Attention) -> bool:
    """Keys and values in BF16, as wide as each other, all of which are seen."""
    same = shape.key_channels == shape.value_channels
    return same and shape.kv_channel_bytes == 2.0 and shape.window_tokens is None


def _chunk_s(table: Table, shape: Attention) -> float:
    """A chunk behind what is cached. One longer than any that was timed is as many of the longest one, each
    behind as much as the middle of them is: what they compute grows evenly."""
    count = max(shape.sequences, 1e-9)
    new = shape.new_tokens / count
    cached = max(0.0, shape.context_tokens / count - new)
    if new <= CHUNK_TOKENS:
        return count * table.seconds(max(new, 1.0), max(cached, 1.0))
    middle = cached + (new - CHUNK_TOKENS) / 2
    return count * table.seconds(CHUNK_TOKENS, max(middle, 1.0)) * new / CHUNK_TOKENS


def _floor_s(shape: Shape, chip: Chip) -> float:
    assert isinstance(shape, Gemm | Attention), "only these were timed"
    return max(parts_s(shape, chip))
