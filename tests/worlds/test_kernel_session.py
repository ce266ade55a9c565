"""The kernel job's tools over a session on a scripted sandbox: budget, repeats, resumes and the report."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "examples" / "kernel_tuning"))

import kernel_measure
from kernel_shapes import SHAPES
from kernel_space import machine_space

from perdure.agents.agent import Agent
from perdure.agents.tools import Completed, Finish, Past, ToolContext
from perdure.clock import VirtualClock
from perdure.errors import BadRequest, SandboxUnavailable

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "kernel_tuning"
BASELINE_MS = 40.0
CHANGES = (["q=8"], ["q=16"], ["kv=128"], ["kv=256", "rows=2"], ["rows=4"], ["unroll=2"])


class ScriptedSandbox:
    """A sandbox whose gcc copies the source and whose harness finds wider vectors faster."""

    def __init__(self, workspace: Path) -> None:
        self._workspace = workspace
        self.timed: list[str] = []
        self.gcc = True

    def run(
        self,
        argv: list[str],
        *,
        timeout_s: float = 60.0,
        stdin: str = "",
        read_only: tuple[Path, ...] = (),
        env: Mapping[str, str] | None = None,
    ) -> Completed:
        if argv[0] == "gcc":
            return self._compile(argv) if self.gcc else _ended("", exit_code=127)
        if argv[0].endswith("build-peak"):
            return _ended(json.dumps({"flops_per_s": 4e11, "read_bytes_per_s": 3e10}))
        if argv[0].endswith("build-harness"):
            return self._time(Path(argv[1]).read_text(encoding="utf-8"), stdin)
        return _ended(json.dumps({"name": None, "reason": "scripted"}))

    def _compile(self, argv: list[str]) -> Completed:
        if "-o" in argv:
            source = next(Path(word) for word in argv if word.endswith(".c"))
            Path(argv[argv.index("-o") + 1]).write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
        return _ended("gcc 0")

    def _time(self, source: str, stdin: str) -> Completed:
        self.timed.append(source)
        r, s, _ = (int(word) for word in stdin.split())
        if "#define EXP_BITS 1" in source:
            line = {
                "ok": False,
                "reason": "wrong on prefill-640",
                "error": 0.1,
                "seconds": [0.0] * len(SHAPES),
            }
        else:
            faster = next((n for n in (16, 8, 4) if f"#define VECTOR {n}\n" in source), 1)
            seconds = [BASELINE_MS / 1e3 / faster] * len(SHAPES)
            line = {"ok": True, "reason": "", "error": 1e-5, "seconds": seconds}
        text, total, prime = json.dumps(line), 0, 2**61 - 1
        for byte in text.encode():
            total = (total + byte) * r % prime
        return _ended(f"{(total + s) % prime} {text}\n")


def _ended(stdout: str, exit_code: int = 0) -> Completed:
    return Completed(exit_code=exit_code, stdout=stdout, stderr="", seconds=0.0)


class Session:
    """Calls the agent's tools as the runtime does: the state commits with the result."""

    def __init__(self, workspace: Path, *overrides: str) -> None:
        self.agent = Agent.load(EXAMPLE / "AGENT.toml", settings=overrides)
        self.tools = {spec.name: spec for spec in self.agent.tools}
        self.sandbox = ScriptedSandbox(workspace)
        self.workspace = workspace
        self.state: dict[str, Any] = {}
        self.history: list[Past] = []

    def context(self) -> ToolContext:
        return ToolContext(
            run_id="run",
            key=f"run/{len(self.history)}",
            workspace=self.workspace,
            folder=EXAMPLE,
            settings=self.agent.spec.settings,
            state=json.loads(json.dumps(self.state)),
            history=tuple(self.history),
            sandbox=self.sandbox,
            clock=VirtualClock(),
        )

    @property
    def allowed(self) -> tuple[str, ...]:
        assert self.agent.choose is not None
        return tuple(self.agent.choose(self.context()))

    def call(self, name: str, *, dies_before_commit: bool = False, **arguments: Any) -> Any:
        context = self.context()
        returned = self.tools[name].function(context=context, **arguments)
        if not dies_before_commit:
            self.state = json.loads(json.dumps(dict(context.state)))
            output = returned.output if isinstance(returned, Finish) else returned
            self.history.append(Past(tool=name, arguments=arguments, output=output))
        return returned


VEC_MAX = machine_space().values["vec"][-1]


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(tmp_path, "evaluations=6", "search_seeds=3")


def test_the_prompt_offers_the_tools_in_order_of_definition(session: Session) -> None:
    """The AGENT.toml loads, and its tools are those that docs/kernel-tuning.md lists."""
    assert list(session.tools) == ["evaluate", "evaluate_source", "history", "note", "submit"]


def test_the_prompt_for_large_models_names_every_shape_and_the_same_settings(session: Session) -> None:
    """What AGENT.large.toml says of the task is what is measured."""
    large = Agent.load(EXAMPLE / "AGENT.large.toml")
    for shape in SHAPES:
        sizes = f"({shape.heads},{shape.kv_heads},{shape.queries},{shape.keys},{shape.dim})"
        assert sizes in large.spec.system
    assert large.spec.settings.keys() == session.agent.spec.settings.keys()
    assert large.spec.settings["allow_source"] is True


def test_an_evaluation_answers_in_one_short_line(session: Session) -> None:
    """Number, budget, speedups and the best so far; a token of it costs milliseconds of prefill."""
    said = session.call("evaluate", change=["vec=4"])
    assert said == "eval 1/6: 4.0x (prefill 4.0x, decode 4.0x) ok; best 4.0x #1"
    said = session.call("evaluate", change=["exp=bits", "q=64"])
    assert said == "eval 2/6: 0x: wrong on prefill-640; best 4.0x #1"


def test_changes_are_made_to_the_best_kernel_so_far(session: Session) -> None:
    """A slower or a wrong kernel is not built upon."""
    session.call("evaluate", change=["q=64"])
    session.call("evaluate", change=["vec=1", "kv=128"])
    session.call("evaluate", change=["exp=bits"])
    session.call("evaluate", change=["rows=2"])
    points = [session.state[f"evaluation {number}"]["point"] for number in (1, 2, 3, 4)]
    start = {**points[0], "q": 32}
    assert points[0] == {**start, "q": 64}
    assert points[1] == {**start, "q": 64, "vec": 1, "kv": 128}
    assert points[2] == {**start, "q": 64, "exp": "bits"}
    assert points[3] == {**start, "q": 64, "rows": 2}


def test_a_repeated_point_counts_and_is_not_measured_again(session: Session) -> None:
    """The answer names the first evaluation of that point."""
    session.call("evaluate", change=["vec=4"])
    timed = len(session.sandbox.timed)
    session.call("evaluate", change=["vec=4"])
    said = session.call("evaluate", change=["vec=1", "vec=4"])
    assert said == "eval 3/6: 4.0x, repeats #1, try another; best 4.0x #1"
    assert len(session.sandbox.timed) == timed


def test_choose_lets_the_model_evaluate_until_the_budget_is_spent_and_then_submit(session: Session) -> None:
    """Other tools come up after three evaluations, never twice in a row, and submit only at the end."""
    seen: list[tuple[str, ...]] = []
    for change in CHANGES:
        if "note" in session.allowed:
            seen.append(session.allowed)
            session.call("note", text="wider is faster")
        seen.append(session.allowed)
        session.call("evaluate", change=change)
    assert set(seen) == {("evaluate",), ("evaluate", "history", "note")}
    assert seen.count(("evaluate", "history", "note")) == 1
    assert session.allowed == ("submit",)
    assert "call submit" in session.call("evaluate", change=["q=8"])


def test_whole_sources_are_refused_unless_the_setting_allows_them(session: Session, tmp_path: Path) -> None:
    """Off, the tool is neither offered nor obeyed; on, it is offered, counted and may win."""
    assert "refused" in session.call("evaluate_source", source="int x;")
    assert session.sandbox.timed == []
    open_session = Session(tmp_path, "evaluations=2", "search_seeds=1", "allow_source=true")
    assert open_session.allowed == ("evaluate", "evaluate_source")
    said = open_session.call("evaluate_source", source="#define VECTOR 16\n")
    assert said == "eval 1/2: 16.0x (prefill 16.0x, decode 16.0x) ok; best 16.0x #1"
    assert "repeats #1" in open_session.call("evaluate_source", source="#define VECTOR 16\n")
    finish = open_session.call("submit")
    assert finish.result["best"]["source_sha256"] == kernel_measure.sha256("#define VECTOR 16\n")
    assert finish.result["speedup_geomean"] == 16.0


def test_a_source_that_was_changed_in_the_workspace_is_not_submitted(tmp_path: Path) -> None:
    """What is handed in is what was measured."""
    session = Session(tmp_path, "evaluations=1", "search_seeds=1", "allow_source=true")
    session.call("evaluate_source", source="#define VECTOR 16\n")
    (kept,) = tmp_path.glob("source-*.c")
    kept.write_text("#define VECTOR 8\n", encoding="utf-8")
    with pytest.raises(BadRequest, match="changed"):
        session.call("submit")


def test_history_and_notes_are_short_and_stay(session: Session) -> None:
    """History gives the best point as the arguments that name it; notes are counted."""
    assert session.call("history") == "0 evaluated, none correct yet"
    session.call("evaluate", change=["vec=4"])
    session.call("evaluate", change=["vec=1"])
    said = session.call("history")
    assert said.startswith("best #1 4.0x vec=4 rows=1 ")
    assert said.endswith("; last: #1 4.0x, #2 1.0x")
    assert session.call("note", text="wider is faster") == "noted (1)"
    assert session.state["notes"] == ["wider is faster"]


def test_an_evaluation_cut_off_before_its_commit_is_counted_once_and_not_timed_again(
    session: Session,
) -> None:
    """After a crash the same call gives the same answer from what was measured before."""
    session.call("evaluate", change=["q=64"])
    cut = session.call("evaluate", dies_before_commit=True, change=["q=16"])
    timed = len(session.sandbox.timed)
    assert session.call("evaluate", change=["q=16"]) == cut
    assert len(session.sandbox.timed) == timed
    assert session.state["count"] == 2


def test_a_submit_cut_off_does_not_search_again(session: Session) -> None:
    """Random search after a resume takes what it measured before from the workspace."""
    for change in CHANGES:
        session.call("evaluate", change=change)
    before = len(session.sandbox.timed)
    session.call("submit", dies_before_commit=True)
    first = len(session.sandbox.timed) - before
    session.call("submit")
    final_round = 3 * (1 + 1 + 3)
    assert len(session.sandbox.timed) - before - first == final_round
    assert first > final_round


def test_the_result_has_what_the_contract_names(session: Session) -> None:
    """speedup, random search over its seeds, evaluations, share of peak, and who won."""
    for change in CHANGES:
        session.call("evaluate", change=["vec=1", *change[:2]])
    finish = session.call("submit")
    result = finish.result
    assert result["evaluations"] == 6
    assert result["speedup_geomean"] == 1.0
    assert result["random_search_speedup_geomean"] == result["random_search"]["median"] > 1.0
    assert result["random_edits"] is None
    assert len(result["random_search"]["speedups"]) == 3
    rates = [shape["gflops"] for shape in result["shapes"]]
    assert 0 < min(rates) / 400 <= result["peak_share"] <= max(rates) / 400
    assert result["beats_random_search"] is False
    assert "did NOT beat random search" in finish.output
    assert "load generator" in result["model_is_load_generator"]
    assert result["library"]["reason"] == "scripted"
    assert json.loads(json.dumps(result)) == result


def test_equal_to_the_best_seed_is_not_a_win(session: Session) -> None:
    """Only what is faster than every seed of random search beats it."""
    for change in CHANGES:
        session.call("evaluate", change=[f"vec={VEC_MAX}", *change[:2]])
    result = session.call("submit").result
    assert result["random_search"]["max"] == result["speedup_geomean"] == float(VEC_MAX)
    assert result["beats_random_search"] is False
    assert result["random_search"]["versus"] == "within the spread of its seeds"


def test_random_edits_make_the_moves_of_the_model(tmp_path: Path) -> None:
    """With edit_seeds set, what the tool's own hill climbing gives by chance stands beside the model."""
    session = Session(tmp_path, "evaluations=6", "search_seeds=0", "edit_seeds=2")
    for change in CHANGES:
        session.call("evaluate", change=change)
    finish = session.call("submit")
    edits = finish.result["random_edits"]
    assert len(edits["speedups"]) == 2
    assert edits["min"] >= 1.0
    assert "random edits" in finish.output
    assert finish.result["random_search"] is None
    assert finish.result["random_search_speedup_geomean"] is None


def test_a_run_of_wrong_kernels_ends_with_nothing(session: Session) -> None:
    """A job without one correct kernel reports zeros, not an error and not a speedup."""
    for change in CHANGES:
        session.call("evaluate", change=["exp=bits", *change[:2]])
    result = session.call("submit").result
    assert result["speedup_geomean"] == result["peak_share"] == 0.0
    assert result["evaluations_wrong"] == 6
    assert result["best"] is None
    assert result["beats_random_search"] is False


def test_a_missing_compiler_stops_the_run_with_the_line_that_installs_it(session: Session) -> None:
    """Every evaluation would fail, so the run stops instead of telling the model."""
    session.sandbox.gcc = False
    with pytest.raises(SandboxUnavailable, match="apt-get install gcc"):
        session.call("evaluate", change=["vec=4"])
