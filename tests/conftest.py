"""What every test may rely on: fixed Hypothesis profiles and the data that the project does not ship."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from opml_min.cli import main
from opml_min.model.native import kernel_cache
from opml_min.model.native.kernel_cache import KERNEL_SOURCES
from opml_min.training.kernels.compiled import TRAINING_KERNEL_SOURCES

for name, examples in (("dev", 50), ("ci", 100), ("nightly", 5_000)):
    settings.register_profile(
        name, max_examples=examples, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
    )
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev"))

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session", autouse=True)
def one_kernel_folder() -> Iterator[None]:
    """Kernels come from one folder in all tests, also in those whose cache folder is empty: compiling takes most of a minute."""
    with pytest.MonkeyPatch.context() as patch:
        folders = {sources: kernel_cache.kernel_folder(sources) for sources in (KERNEL_SOURCES, TRAINING_KERNEL_SOURCES)}
        patch.setattr(kernel_cache, "kernel_folder", lambda sources=KERNEL_SOURCES: folders[sources])
        yield


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The one line with which a command refuses its arguments."""

    def run(*arguments: object, main: Callable[[list[str]], int] = main) -> str:
        assert main([*map(str, arguments)]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.count("\n") == 1
        return err

    return run


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder `../shared/data`; absent it skips, but under CI=true it fails."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        if os.environ.get("CI"):
            pytest.fail("../shared/data is missing")
        pytest.skip("needs ../shared/data, which is not part of the project")
    return folder
