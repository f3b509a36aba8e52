"""Files read again when they change, and never to the worse."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from providerd_server.errors import ConfigurationError
from providerd_server.reloading import Reloaded


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "number"
    path.write_text("1")
    return path


def number(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        raise ConfigurationError(f"{path} holds no number") from None


def reloaded(path: Path) -> Reloaded[int]:
    return Reloaded("the number", [path], lambda: number(path))


def test_a_change_is_read(path: Path) -> None:
    file = reloaded(path)
    assert (file.value, file.refresh()) == (1, False)
    path.write_text("22")
    assert (file.refresh(), file.value) == (True, 22)
    assert not file.refresh()


@pytest.mark.parametrize("break_it", [lambda path: path.write_text("not a number"), Path.unlink])
def test_the_last_good_one_stays_and_that_is_told_once(path: Path, break_it: object) -> None:
    file = reloaded(path)
    break_it(path)  # type: ignore[operator]
    with capture_logs() as logged:
        assert [file.refresh() for _ in range(3)] == [False] * 3
    assert file.value == 1
    assert [line["log_level"] for line in logged] == ["error"]
    path.write_text("333")
    assert (file.refresh(), file.value) == (True, 333)


def test_a_file_that_changes_while_it_is_read_is_read_once_more(path: Path) -> None:
    values = iter(["22", "333"])

    def racing() -> int:
        found = number(path)
        # The other writer is faster than the end of this read.
        if (text := next(values, None)) is not None:
            path.write_text(text)
        return found

    file = Reloaded("the number", [path], racing)
    assert (file.value, file.refresh()) == (1, False)
    assert file.value == 1
    assert (file.refresh(), file.value) == (True, 333)


def test_what_is_no_good_at_the_start_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="holds no number"):
        reloaded(tmp_path / "missing")
