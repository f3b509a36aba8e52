"""The runner of the pages' examples: what it finds, what it accepts, and what it does not."""

from pathlib import Path

import pytest

from providerd_server.embedded import EmbeddedPostgres
from tests.docs_runner import Shell, check, examples, matches


@pytest.fixture
def shell(tmp_path: Path, cluster: EmbeddedPostgres) -> Shell:
    directory = tmp_path / "work"
    directory.mkdir()
    return Shell(directory, "127.0.0.1:9", cluster, {"COLOUR": "blue"})


def page(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "page.md"
    path.write_text(text)
    return path


def test_it_finds_examples_with_their_further_lines_and_leaves_marked_blocks_out(tmp_path: Path) -> None:
    text = """
```console
$ cat <<'X'
> one
> X
one
$ true
```

<!-- not run: for ever -->
```console
$ yes
y
```

```console
y
```
"""
    first, second = examples(page(tmp_path, text))
    assert (first.line, first.command, first.printed) == (3, "cat <<'X'\none\nX", "one\n")
    assert (second.line, second.command, second.printed) == (7, "true", "")


def test_it_runs_them_in_order_in_one_directory_and_with_one_environment(tmp_path: Path, shell: Shell) -> None:
    text = """
```console
$ echo $COLOUR > file
$ cat file; echo oh >&2; exit 3
blue
oh
$ ls migrations | head -n 1
001...
```
"""
    assert check(page(tmp_path, text), shell) == 3


@pytest.mark.parametrize(
    "block",
    ["$ echo one\ntwo\n", "$ echo one; echo two\none\n", "$ false\n", "$ true\none\n", "$ echo one\none\n...\ntwo\n"],
)
def test_it_fails_where_something_else_is_printed(tmp_path: Path, shell: Shell, block: str) -> None:
    with pytest.raises(AssertionError, match=r"page\.md:2: "):
        check(page(tmp_path, f"```console\n{block}```\n"), shell)


@pytest.mark.parametrize(
    ("expected", "printed"),
    [
        ("at 2026-01-17T10:00:00.123Z", "at 2027-12-31 23:59:59+00"),
        ("in 5d0f1a3c-0000-4000-8000-123456789abc", "in ffffffff-1111-4111-8111-fedcba987654"),
        ("verified 0.2 s ago", "verified 11 s ago"),
        ("a     | b\n------+--", "a | b\n--+--"),
        ("one\n...\nthree", "one\ntwo\ntwo\nthree"),
        ("one\n...\nthree", "one\nthree"),
        ("because ... ended", "because the world ended"),
    ],
)
def test_it_accepts_what_is_another_each_time(expected: str, printed: str) -> None:
    assert matches(expected, printed)


@pytest.mark.parametrize(
    ("expected", "printed"),
    [("revision 3", "revision 4"), ("1.5", "1x5"), ("a ... z", "a\nz"), ("0123456789abcdef", "none")],
)
def test_it_accepts_nothing_else(expected: str, printed: str) -> None:
    assert not matches(expected, printed)
