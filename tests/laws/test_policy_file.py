"""A user's own policy: run as it stands, and every mistake told with the file, the line and the remedy."""

import sys
from pathlib import Path

import pytest

from perdure.errors import BadRequest
from perdure.scheduling.compiled import compile_policy
from perdure.scheduling.facts import Waiting
from perdure.scheduling.policies import BUNDLES, NAMES, Kind
from perdure.scheduling.policy_file import FILE_BYTES_MAX, PROBE_VALUES, choose_policy, probes

GOOD = """
from perdure.scheduling.facts import Waiting, log

WEIGHT = 2.0


def half(number: float) -> float:
    return number / WEIGHT


def order(call: Waiting) -> float:
    return half(call.prompt_tokens) - log(call.waited_s + 1.0)
"""


def written(folder: Path, source: str) -> Path:
    path = folder / "mine.py"
    path.write_text(source, encoding="utf-8")
    return path


def refusal(kind: Kind, text: str) -> str:
    with pytest.raises(BadRequest) as refused:
        choose_policy(kind, text)
    return refused.value.message


def test_a_function_of_a_file_is_a_policy(tmp_path: Path) -> None:
    """A function with a helper, a constant and `log` runs as it stands, and compiled gives the same."""
    chosen = choose_policy("order", f"{written(tmp_path, GOOD)}:order")
    assert chosen.needs == ("order",)
    assert chosen.file == tmp_path / "mine.py"
    call = Waiting(waited_s=1.5, prompt_tokens=7, max_output_tokens=1)
    assert compile_policy("order", chosen.function)(call) == chosen.function(call)


def test_what_changed_in_the_file_is_what_runs(tmp_path: Path) -> None:
    """A constant changed within the same second, in a file of the same length, is seen; compiled as well."""
    call = Waiting(waited_s=0.0, prompt_tokens=8, max_output_tokens=1)
    for weight, expected in (("2.0", 4.0), ("4.0", 2.0)):
        path = written(tmp_path, GOOD.replace("WEIGHT = 2.0", f"WEIGHT = {weight}"))
        function = choose_policy("order", f"{path}:order").function
        assert function(call) == expected
        assert compile_policy("order", function)(call) == expected


def test_what_a_policy_reads_from_elsewhere_is_part_of_what_is_cached(tmp_path: Path) -> None:
    """The same file with another value of a constant, imported say from another file, is another policy."""
    call = Waiting(waited_s=0.0, prompt_tokens=8, max_output_tokens=1)
    function = choose_policy("order", f"{written(tmp_path, GOOD)}:order").function
    assert compile_policy("order", function)(call) == 4.0
    vars(sys.modules[function.__module__])["WEIGHT"] = 8.0
    assert compile_policy("order", function)(call) == function(call) == 1.0


def test_one_of_ours_is_chosen_by_its_name() -> None:
    """A name without a colon is one of the built-in policies."""
    assert choose_policy("order", "plas").file is None


@pytest.mark.parametrize(
    "source,says",
    [
        ("def order(call)\n    return 1.0\n", "mine.py:1: not Python"),
        (
            "x = 1\nraise ValueError('no such thing')\n",
            "mine.py:2: loading the policy file raised ValueError",
        ),
        ("import not_a_module_anywhere\n", "mine.py:1: loading the policy file raised ModuleNotFoundError"),
        ("exit()\n", "mine.py:1: loading the policy file raised SystemExit"),
        ("\x00", "mine.py:1: "),
        ("def other(call):\n    return 1.0\n", "no function 'order'; it has other"),
        ("x = 1\n", "no function 'order'; it defines none"),
        ("order = 3\n", "is no plain function"),
        ("class order:\n    pass\n", "is no plain function"),
        ("def order(call, now_s):\n    return 1.0\n", "mine.py:1: order takes (call, now_s)"),
        ("def order():\n    return 1.0\n", "takes one Waiting"),
        ("def order(*calls):\n    return 1.0\n", "takes one Waiting"),
        ("\nasync def order(call):\n    return 1.0\n", "mine.py:2: order must return a number"),
        ("def order(call):\n    yield 1.0\n", "must return a number"),
        ("def order(call):\n    return None\n", "order returned None"),
        ("def order(call):\n    return 'first'\n", "order returned 'first'"),
        ("def order(call):\n    return call.waited_s * float('nan')\n", "order returned nan"),
        (
            "def order(call):\n    x = 2\n    return x / call.waited_s\n",
            "mine.py:3: order raised ZeroDivisionError",
        ),
        ("def order(call):\n    return call.true_output_tokens\n", "mine.py:2: order raised AttributeError"),
    ],
)
def test_a_mistake_is_told_with_its_line(tmp_path: Path, source: str, says: str) -> None:
    """Whatever is wrong with the file is said when it is loaded, not when the policy is first asked."""
    assert says in refusal("order", f"{written(tmp_path, source)}:order")


def test_a_choice_must_be_one_of_the_choices(tmp_path: Path) -> None:
    """`retain` gives 0, 1 or 2 and `admit` 0 or 1; anything else is refused with what was returned."""
    path = written(tmp_path, "def hold(session):\n    return 3\n\ndef half(program):\n    return 0.5\n")
    assert "returns one of 0, 1, 2" in refusal("retain", f"{path}:hold")
    assert "returns one of 0, 1" in refusal("admit", f"{path}:half")


def test_a_file_that_is_not_there_or_too_large_is_refused(tmp_path: Path) -> None:
    """A missing file, a folder, a name without its function and a huge file are each named."""
    assert "no policy file" in refusal("order", f"{tmp_path}/nowhere.py:order")
    assert "no policy file" in refusal("order", f"{tmp_path}:order")
    path = written(tmp_path, GOOD)
    assert "names no function; write FILE:FUNCTION" in refusal("order", str(path))
    assert "names no function" in refusal("order", f"{path}:")
    huge = written(tmp_path, "#" * (FILE_BYTES_MAX + 1))
    assert "the limit is" in refusal("order", f"{huge}:order")


@pytest.mark.parametrize(
    "body,says",
    [
        ("    return call._asdict()['waited_s']\n", "mine.py:3: policy order cannot be compiled: Unknown"),
        ("    import math\n    return math.pi\n", "mine.py:3: policy order cannot be compiled: Use of"),
        ("    return call.prompt_tokens ** 5 * 1.0\n", "compiled, on Waiting("),
        ("    return order(call) if call.waited_s < 0 else 0.0\n", "calls itself"),
    ],
)
def test_what_cannot_be_compiled_is_told_with_its_line(tmp_path: Path, body: str, says: str) -> None:
    """A function that Python runs and the compiler does not is refused with the compiler's reason."""
    path = written(tmp_path, f"# a comment\ndef order(call):\n{body}")
    function = choose_policy("order", f"{path}:order").function
    with pytest.raises(BadRequest) as refused:
        compile_policy("order", function)
    assert says in refused.value.message
    assert "\n" not in refused.value.message


def test_the_documentation_names_every_policy_and_its_example_runs(tmp_path: Path) -> None:
    """docs/policies.md has a paragraph for each policy, a row for each bundle, and a working example."""
    text = (Path(__file__).parents[2] / "docs" / "policies.md").read_text(encoding="utf-8")
    assert all(f"**`{name}`**" in text for names in NAMES.values() for name in names)
    rows = [
        f"| `{name}` | {one.order} | {one.place} | {one.admit} | {one.retain} |"
        for name, one in BUNDLES.items()
    ]
    assert all(row in text for row in rows)
    path = written(tmp_path, text.split("```python\n")[1].split("```")[0])
    examples: list[tuple[Kind, str]] = [("order", "short_prompts_first"), ("retain", "keep_a_minute")]
    for kind, name in examples:
        compile_policy(kind, choose_policy(kind, f"{path}:{name}").function)


def test_probes_reach_from_nothing_to_much() -> None:
    """A policy is tried on facts that are all zero, all one, all large, and mixed; flags are 0 or 1."""
    nothing, ones, much, *others = probes("order")
    assert nothing == Waiting(0.0, 0, 0)
    assert set(ones) == {1}
    assert (much.tool_return, much.prompt_tokens) == (1, 100_000)
    assert len({facts.waited_s for facts in others}) == len(PROBE_VALUES)
    assert any(len(set(facts)) > 5 for facts in others)
    assert {facts.tool_return for facts in others} == {0, 1}
