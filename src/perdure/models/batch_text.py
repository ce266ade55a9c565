"""How a batch is written in one line: `prefill=2048@8192,decode=4096x32`."""

import re

from perdure.errors import BadRequest
from perdure.models.batch import Batch, Decode, Prefill

TOKENS_MAX = 16_777_216
SEQUENCES_MAX = 1_048_576
PARTS_MAX = 64
HOW = (
    "write prefill=TOKENS[@CACHED][xN] and decode=CONTEXT[+DRAFTS][xN], with commas between, "
    "such as prefill=2048@8192,decode=4096x32"
)

_PREFILL = re.compile(r"prefill=(\d+)(?:@(\d+))?(?:x(\d+))?")
_DECODE = re.compile(r"decode=(\d+)(?:\+(\d+))?(?:x(\d+))?")


def parse_batch(text: str) -> Batch:
    """The batch that `text` describes; raises BadRequest that shows how to write one."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise BadRequest(f"the batch is empty; {HOW}", param="batch")
    if len(parts) > PARTS_MAX:
        raise BadRequest(f"the batch has {len(parts)} parts; at most {PARTS_MAX}", param="batch")
    prefills: list[Prefill] = []
    decodes: list[Decode] = []
    for part in parts:
        if found := _PREFILL.fullmatch(part):
            new, cached, count = (int(number or 0) for number in found.groups())
            _check(part, new_tokens=new, context_tokens=new + cached, count=count if found[3] else 1)
            prefills.append(Prefill(new_tokens=new, cached_tokens=cached, count=count if found[3] else 1))
        elif found := _DECODE.fullmatch(part):
            context, drafts, count = (int(number or 0) for number in found.groups())
            _check(part, new_tokens=1 + drafts, context_tokens=context, count=count if found[3] else 1)
            decodes.append(
                Decode(context_tokens=context, draft_tokens=drafts, count=count if found[3] else 1)
            )
        else:
            raise BadRequest(f"{part!r} is no part of a batch; {HOW}", param="batch")
    return Batch(prefills=tuple(prefills), decodes=tuple(decodes))


def batch_text(batch: Batch) -> str:
    """`batch` for a person: `1 prompt of 2,048 tokens behind 8,192 cached; 32 decodes at 4,096 tokens`."""
    parts = [_prefill_text(part) for part in batch.prefills]
    parts += [_decode_text(part) for part in batch.decodes]
    return "; ".join(parts)


def _prefill_text(part: Prefill) -> str:
    behind = f" behind {part.cached_tokens:,} cached" if part.cached_tokens else ""
    return f"{part.count:,} prompt{'s' * (part.count > 1)} of {part.new_tokens:,} tokens{behind}"


def _decode_text(part: Decode) -> str:
    drafts = f" with {part.draft_tokens} drafts" if part.draft_tokens else ""
    return f"{part.count:,} decode{'s' * (part.count > 1)} at {part.context_tokens:,.0f} tokens{drafts}"


def _check(part: str, *, new_tokens: int, context_tokens: int, count: int) -> None:
    if not (0 < new_tokens <= TOKENS_MAX and 0 < context_tokens <= TOKENS_MAX):
        raise BadRequest(f"{part!r}: tokens go from 1 to {TOKENS_MAX:,}", param="batch")
    if not 0 < count <= SEQUENCES_MAX:
        raise BadRequest(f"{part!r}: N goes from 1 to {SEQUENCES_MAX:,}", param="batch")
