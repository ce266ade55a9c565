"""Laws of the recorder: lines are whole, sessions stay apart, prompts cannot be guessed."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from perdure.errors import NotFound
from perdure.platform.recorder import Recorder
from perdure.traces.record import CallRecord, parse_record

names = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=120)
in_tmp = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)


def recorder(folder: Path) -> Recorder:
    return Recorder(traces_dir=folder / "traces", secrets_dir=folder / "secrets")


def record(session: str | None, **more: object) -> CallRecord:
    fields = {"model": "m", "start_s": 1.0, "prompt_tokens": 3, "cached_tokens": 0, "output_tokens": 1}
    return CallRecord(session=session, reason="stop", **{**fields, **more})


@in_tmp
@example(sessions=["a/b", "a:b", "a.b", "..", "."])
@example(sessions=["x" * 200, "x" * 201])
@given(sessions=st.lists(names, min_size=2, max_size=4, unique=True))
def test_every_session_has_a_file_of_its_own(
    tmp_path_factory: pytest.TempPathFactory, sessions: list[str]
) -> None:
    """Law: whatever a client calls its sessions, each reads back its own lines, inside the traces folder."""
    folder = tmp_path_factory.mktemp("traces")
    notes = recorder(folder)
    for session in sessions:
        notes.write("w", record(session), ())
    for session in sessions:
        (line,) = notes.read("w", session).splitlines()
        assert parse_record(line, place="here").session == session
    files = list(folder.rglob("*.jsonl"))
    assert len(files) == len(sessions)
    assert all(path.parent == folder / "traces" / "w" for path in files)


def test_equal_prefixes_have_equal_hashes_under_one_salt_only(tmp_path: Path) -> None:
    """The twin can see what is shared within a workspace; two workspaces have nothing to compare."""
    notes = recorder(tmp_path)
    prompt = tuple(range(200))
    other = (*prompt[:128], *range(500, 572))
    for workspace, tokens in (("a", prompt), ("a", other), ("b", prompt)):
        notes.write(workspace, record("s"), tokens)
    one, two = (parse_record(line, place="a").block_hashes for line in notes.read("a", "s").splitlines())
    (strange,) = notes.read("b", "s").splitlines()
    assert len(one) == 3
    assert one[:2] == two[:2]
    assert one[2] != two[2]
    assert not set(one) & set(parse_record(strange, place="b").block_hashes)


def test_a_torn_line_stays_alone(tmp_path: Path) -> None:
    """After a power cut in the middle of a line, the next record starts on a line of its own."""
    notes = recorder(tmp_path)
    notes.write("w", record("s"), ())
    path = tmp_path / "traces" / "w" / "s.jsonl"
    path.write_bytes(path.read_bytes() + b'{"model":"m","sess')
    notes.write("w", record("s", prompt_tokens=9), ())
    first, torn, last = notes.read("w", "s").splitlines()
    assert parse_record(first, place="1").prompt_tokens == 3
    assert torn == b'{"model":"m","sess'
    assert parse_record(last, place="3").prompt_tokens == 9


def test_a_trace_that_cannot_be_written_stops_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Recording is no promise to the client: a full or broken disk is logged, and the call goes on."""
    (tmp_path / "traces").write_text("a file where the folder should be")
    recorder(tmp_path).write("w", record("s"), ())
    assert "cannot record calls" in caplog.text


def test_a_session_never_recorded_is_not_found(tmp_path: Path) -> None:
    """The message says how a session gets its name."""
    with pytest.raises(NotFound, match="x-perdure-session"):
        recorder(tmp_path).read("w", "s")
