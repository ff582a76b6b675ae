"""What all tests share: nothing is downloaded, one thread is enough, slow tests run when asked for."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # before huggingface_hub is imported
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--run-slow", action="store_true", help="also run what takes more than a minute")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--run-slow"):
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="slow: --run-slow"))


@pytest.fixture(autouse=True, scope="session")
def fingerprints_aside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is known of pictures is kept apart from the user's; converted language models are worth sharing."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lorgnette.data.known.cache", lambda: folder)
        yield


@pytest.fixture
def mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The one line that the command, in an empty folder, says of a user's mistake, with the status of one."""
    monkeypatch.chdir(tmp_path)

    def said(*arguments: str) -> str:
        from lorgnette.cli import main

        with pytest.raises(SystemExit) as end:
            main(list(arguments))
        assert end.value.code == 2
        shown = capsys.readouterr().err.strip()
        assert len(shown.splitlines()) == 1
        return shown

    return said
