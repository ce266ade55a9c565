"""How fast an installed library's attention is on this processor; prints one line of JSON.

    python library_attention.py '[[heads, kv_heads, queries, keys, dim], ...]' [numpy]

onnxruntime's GroupQueryAttention where onnxruntime and onnx are installed, else numpy's two matrix products
and a softmax, else the reason why there is no figure. The inputs stay the same from call to call,
so a library may find them in its caches; kernels under test get new ones.
"""

import importlib
import importlib.util
import json
import statistics
import sys
from collections.abc import Callable
from time import perf_counter
from typing import Any

REPEATS = 21


def main() -> None:
    sizes = [tuple(int(one) for one in shape) for shape in json.loads(sys.argv[1])]
    have = {name: importlib.util.find_spec(name) is not None for name in ("numpy", "onnxruntime", "onnx")}
    if not have["numpy"]:
        answer: dict[str, Any] = {"name": None, "reason": "neither numpy nor onnxruntime is installed"}
    elif have["onnxruntime"] and have["onnx"] and sys.argv[2:] != ["numpy"]:
        answer = _report("onnxruntime", [_onnxruntime_call(*shape) for shape in sizes])
    else:
        answer = _report("numpy", [_numpy_call(*shape) for shape in sizes])
    print(json.dumps(answer))


def _report(name: str, calls: list[Callable[[], Any]]) -> dict[str, Any]:
    version = importlib.import_module(name).__version__
    return {"name": f"{name} {version}", "seconds": [_median_s(call) for call in calls]}


def _median_s(call: Callable[[], Any]) -> float:
    taken: list[float] = []
    for _ in range(REPEATS + 1):
        started_s = perf_counter()
        call()
        taken.append(perf_counter() - started_s)
    return statistics.median(taken[1:])


def _numpy_call(heads: int, kv_heads: int, queries: int, keys: int, dim: int) -> Callable[[], Any]:
    """Causal attention in numpy: every score is computed, then those that a query may not see are masked."""
    numpy: Any = importlib.import_module("numpy")
    draw = numpy.random.default_rng(1)
    q = draw.standard_normal((kv_heads, heads // kv_heads * queries, dim), dtype="float32")
    k, v = (draw.standard_normal((kv_heads, keys, dim), dtype="float32") for _ in range(2))
    seen = numpy.arange(keys)[None, :] <= numpy.arange(queries)[:, None] + keys - queries
    mask = numpy.where(seen, 0.0, -numpy.inf).astype("float32")

    def call() -> Any:
        scores = q @ k.transpose(0, 2, 1) * numpy.float32(dim**-0.5)
        scores = scores.reshape(kv_heads, -1, queries, keys) + mask
        scores = numpy.exp(scores - scores.max(axis=-1, keepdims=True))
        weights = scores.reshape(kv_heads, -1, keys)
        return weights @ v / weights.sum(axis=-1, keepdims=True)

    return call


def _onnxruntime_call(heads: int, kv_heads: int, queries: int, keys: int, dim: int) -> Callable[[], Any]:
    """onnxruntime's GroupQueryAttention: the new positions' keys follow a cache of keys - queries."""
    numpy: Any = importlib.import_module("numpy")
    runtime: Any = importlib.import_module("onnxruntime")
    session = runtime.InferenceSession(_model(heads, kv_heads, dim), providers=["CPUExecutionProvider"])
    draw = numpy.random.default_rng(1)
    past = (1, kv_heads, keys - queries, dim)

    def normal(*shape: int) -> Any:
        return draw.standard_normal(shape, dtype="float32")

    feeds = {
        "q": normal(1, queries, heads * dim),
        "k": normal(1, queries, kv_heads * dim),
        "v": normal(1, queries, kv_heads * dim),
        "past_k": normal(*past),
        "past_v": normal(*past),
        "last": numpy.array([keys - 1], dtype="int32"),
        "total": numpy.array([keys], dtype="int32"),
    }
    return lambda: session.run(["out"], feeds)


def _model(heads: int, kv_heads: int, dim: int) -> bytes:
    """A graph of one operator, com.microsoft.GroupQueryAttention (onnxruntime's ContribOperators.md)."""
    helper: Any = importlib.import_module("onnx.helper")
    kinds: Any = importlib.import_module("onnx").TensorProto
    names = ("q", "k", "v", "past_k", "past_v", "last", "total")
    ranks = (3, 3, 3, 4, 4, 1, 1)
    inputs = [
        helper.make_tensor_value_info(
            name,
            kinds.INT32 if name in ("last", "total") else kinds.FLOAT,
            [f"{name}{axis}" for axis in range(rank)],
        )
        for name, rank in zip(names, ranks, strict=True)
    ]
    outputs = [
        helper.make_tensor_value_info(name, kinds.FLOAT, [f"{name}{axis}" for axis in range(rank)])
        for name, rank in (("out", 3), ("all_k", 4), ("all_v", 4))
    ]
    node = helper.make_node(
        "GroupQueryAttention",
        list(names),
        ["out", "all_k", "all_v"],
        domain="com.microsoft",
        num_heads=heads,
        kv_num_heads=kv_heads,
    )
    graph = helper.make_graph([node], "attention", inputs, outputs)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    return model.SerializeToString()


if __name__ == "__main__":
    main()
