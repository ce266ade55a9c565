"""What any HTTP client meets at a running server: pages, limits, errors, hang-ups."""

import asyncio

import aiohttp
import jsonschema
import orjson
import pytest

from perdure.clock import SystemClock
from perdure.platform import asgi
from perdure.platform.generating import Line
from perdure.platform.scheduler import Scheduler

CHAT = {"model": "scripted", "messages": [{"role": "user", "content": "the secret word is mellon"}]}


@pytest.fixture
async def http(served):
    """A session without a key."""
    root = served.base_url.removesuffix("/v1")
    async with aiohttp.ClientSession(root) as session:
        yield session


def keyed(served) -> dict[str, str]:
    return {"authorization": f"Bearer {served.key}"}


@pytest.mark.parametrize("path", ["/", "/health", "/healthz", "/readyz", "/metrics", "/openapi.json"])
async def test_open_pages_need_no_key(http, path):
    """What monitors and people ask first is answered, to GET and to HEAD."""
    assert (await http.get(path)).status == 200
    head = await http.head(path)
    assert (head.status, await head.read()) == (200, b"")


@pytest.mark.parametrize(
    "headers", [{}, {"authorization": "Bearer "}, {"authorization": "Basic x"}, {"x-api-key": "no"}]
)
async def test_everything_else_needs_one(http, headers):
    """401 with OpenAI's envelope on every keyed path."""
    for method, path in (
        ("GET", "/v1/models"),
        ("GET", "/v1/models/scripted"),
        ("GET", "/v1/responses/resp_1"),
        ("GET", "/v1/perdure/traces/s"),
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/responses"),
    ):
        answer = await http.request(method, path, headers=headers, data=b"{}")
        assert answer.status == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert (await answer.json())["error"]["code"] == "invalid_api_key"


async def test_a_key_in_x_api_key_is_as_good(served, http):
    """Clients of other houses send it there."""
    answer = await http.get("/v1/models", headers={"x-api-key": served.key})
    assert answer.status == 200


async def test_bad_json_is_refused_with_its_position(served, http):
    """400 that says line and column."""
    body = b'{"model": "scripted",\n "messages": [}'
    answer = await http.post("/v1/chat/completions", data=body, headers=keyed(served))
    assert answer.status == 400
    assert "line 2, column" in (await answer.json())["error"]["message"]


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"3", b'"x"', b"\xff", b'{"model": 3}', b'{"model": "scripted"}']
)
async def test_a_body_that_is_no_request_is_refused(served, http, body):
    """400, never 500, for whatever is not a request."""
    for path in ("/v1/chat/completions", "/v1/responses"):
        answer = await http.post(path, data=body, headers=keyed(served))
        assert answer.status == 400
        assert (await answer.json())["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_over_the_limit_is_refused(served, http, monkeypatch, declared):
    """413 that names the limit, whether the length was declared or not."""
    monkeypatch.setattr(asgi, "BODY_BYTES_MAX", 1000)

    async def chunks():
        for _ in range(20):
            yield b" " * 100

    data = b" " * 2000 if declared else chunks()
    answer = await http.post("/v1/chat/completions", data=data, headers=keyed(served))
    assert answer.status == 413
    assert "the limit is 1000" in (await answer.json())["error"]["message"]


async def test_unknown_paths_and_methods_get_the_envelope(served, http):
    """404 and 405 are JSON too, and say where to look."""
    for method, path, status in (("GET", "/v2", 404), ("GET", "/v1/chat/completions", 405)):
        answer = await http.request(method, path, headers=keyed(served))
        assert answer.status == status
        assert "/openapi.json" in (await answer.json())["error"]["message"]


async def test_a_request_id_comes_back(served, http):
    """The client's own where it is sane, one of ours where not."""
    for sent, back in (("abc-1", True), ("x" * 200, False)):
        answer = await http.get("/v1/models", headers={**keyed(served), "x-request-id": sent})
        assert (answer.headers["x-request-id"] == sent) is back


async def test_a_session_name_that_is_none_is_refused(served, http):
    """A name too long for a file or with odd characters is 400, not cut."""
    headers = {**keyed(served), "x-perdure-session": "s" * 257}
    answer = await http.post("/v1/chat/completions", json=CHAT, headers=headers)
    assert answer.status == 400
    assert "x-perdure-session" in (await answer.json())["error"]["message"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_hangs_up_cancels_its_generation(serving, until, stream):
    """The slot is free again, and nothing is generated for nobody."""
    async with serving(delay_s=0.08, slots=1) as served, aiohttp.ClientSession() as session:
        url = f"{served.base_url}/chat/completions"
        asking = asyncio.create_task(
            session.post(url, json={**CHAT, "stream": stream}, headers=keyed(served))
        )
        await until(lambda: served.engine.calls)
        if stream:
            (await asking).close()
        asking.cancel()
        await until(lambda: served.engine.cancelled)
        assert served.engine.finished == 0
        assert served.platform.lines["scripted"].scheduler.running == 0


async def test_a_full_queue_says_when_to_come_back(serving, until):
    """429 with retry-after once the limit is reached; those before it are answered."""
    async with serving(delay_s=0.01) as served, aiohttp.ClientSession() as session:
        scheduler = Scheduler(slots=1, clock=SystemClock(), waiting_calls_max=1)
        served.platform.lines["scripted"] = Line(engine=served.engine, scheduler=scheduler)

        async def ask() -> aiohttp.ClientResponse:
            url = f"{served.base_url}/chat/completions"
            return await session.post(url, json=CHAT, headers=keyed(served))

        asked = [asyncio.create_task(ask()) for _ in range(2)]
        await until(lambda: served.platform.active_requests == 2 and served.engine.calls)
        refused = await ask()
        assert refused.status == 429
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.headers["x-should-retry"] == "true"
        assert [(await task).status for task in asked] == [200, 200]


async def test_while_draining_new_work_is_refused_and_health_answers(served, http):
    """503 with retry-after for work, 503 from readyz, 200 from healthz."""
    served.platform.draining = True
    answer = await http.post("/v1/chat/completions", json=CHAT, headers=keyed(served))
    assert (answer.status, "retry-after" in answer.headers) == (503, True)
    assert (await (await http.get("/readyz")).json())["status"] == "draining"
    assert (await http.get("/healthz")).status == 200


async def test_traces_belong_to_their_owner(served, http):
    """The owner reads the lines of a session; another workspace finds nothing."""
    headers = {**keyed(served), "x-perdure-session": "s/../1", "x-perdure-program": "p"}
    await http.post("/v1/chat/completions", json=CHAT, headers=headers)
    own = await http.get("/v1/perdure/traces/s%2F..%2F1", headers=keyed(served))
    line = orjson.loads(await own.read())
    assert (own.status, line["session"], line["program"]) == (200, "s/../1", "p")
    other = await asyncio.to_thread(served.platform.keys.make, "other")
    stranger = await http.get("/v1/perdure/traces/s%2F..%2F1", headers={"x-api-key": other})
    assert stranger.status == 404


async def test_no_text_and_no_key_is_written_anywhere(served, http, tmp_path, caplog):
    """Logs, metrics, traces and tables hold nothing of what was said, and no key."""
    caplog.set_level("DEBUG", logger="perdure")
    headers = {**keyed(served), "x-perdure-session": "s1"}
    assert (await http.post("/v1/chat/completions", json=CHAT, headers=headers)).status == 200
    await http.post("/v1/chat/completions", json={**CHAT, "n": 9}, headers=headers)
    page = await (await http.get("/metrics")).text()
    files = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    for text in (caplog.text.encode(), page.encode(), files):
        assert text
        assert b"mellon" not in text
        assert served.key.encode() not in text
    assert 'perdure_tokens_total{kind="output",model="scripted"}' in page


async def test_every_file_that_the_server_makes_is_its_owners_alone(served, http, tmp_path):
    """Tables, secrets and traces are 0600, their folders 0700."""
    await http.post("/v1/chat/completions", json=CHAT, headers=keyed(served))
    paths = list((tmp_path / "data").rglob("*"))
    assert {path.stat().st_mode & 0o777 for path in paths if path.is_file()} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in paths if path.is_dir()} == {0o700}


async def test_answers_are_as_described(served, http):
    """Real answers and errors keep the schemas of the document."""
    schemas = (await (await http.get("/openapi.json")).json())["components"]
    for path, body, name in (
        ("/v1/chat/completions", CHAT, "ChatCompletion"),
        ("/v1/chat/completions", {}, "Error"),
        ("/v1/responses", {"model": "scripted", "input": "Hello"}, "Response"),
    ):
        answer = await (await http.post(path, json=body, headers=keyed(served))).json()
        jsonschema.validate(answer, {"components": schemas, "$ref": f"#/components/schemas/{name}"})
    models = await (await http.get("/v1/models", headers=keyed(served))).json()
    jsonschema.validate(models, {"components": schemas, "$ref": "#/components/schemas/Models"})


async def test_the_description_names_what_is_there(served, http):
    """Every route is described, and nothing that is not there."""
    described = await (await http.get("/openapi.json")).json()
    for path, operations in described["paths"].items():
        url = path.format(response_id="x", model="scripted", session="s")
        for method in operations:
            answer = await http.request(method, url, headers=keyed(served), data=b"{}")
            assert answer.status in (200, 400, 404), (method, path)
            assert "is not served here" not in await answer.text(), (method, path)
