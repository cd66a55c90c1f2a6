from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dspex_runtime.config import inspect, normalize, parse
from dspex_runtime.config.loader import load, read_text
from dspex_runtime.errors import ConfigError


def problem(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(text, source="t.yaml", environ={})
    assert len(caught.value.problems) == 1
    return caught.value.problems[0]


BROKEN = {
    "empty": ("", "t.yaml: the file is empty; allowed: a map with at least `tree:`"),
    "comments only": ("# nothing\n", "t.yaml: the file is empty"),
    "null": ("---\n", "t.yaml: the file is empty"),
    "list": ("- a\n- b\n", "t.yaml:1:1: found a list; allowed: a map"),
    "single value": ("\nhello\n", "t.yaml:2:1: found a single value; allowed: a map"),
    "tab": ("a:\n\t- 1\n", "t.yaml:2:1: a tab in the indentation; YAML allows spaces only"),
    "tab later": ("a: 1\n\tb: 2\n", "t.yaml:2:1: a tab in the indentation"),
    "unclosed list": ("a: [1\n", "t.yaml:2:1: not YAML: did not find expected ',' or ']'"),
    "unclosed quote": ("a: 'x\n", "t.yaml:2:1: not YAML: found unexpected end of stream while scanning a quoted scalar"),
    "colon in value": ("a: b: c", "t.yaml:1:5: found ': ' inside a value; put the value in quotes"),
    "reserved character": ("a: `x`", "t.yaml:1:4: found '`', which cannot start a value; put the value in quotes"),
    "unquoted variable in braces": ("a: {b: ${N}}", "must be in quotes"),
    "undefined anchor": ("a: *nope", "t.yaml:1:4: not YAML: found undefined alias"),
    "two documents": ("a: 1\n---\nb: 1\n", "t.yaml:2:1: not YAML: but found another document"),
    "control character": ("a: \x01", "t.yaml: not YAML: unacceptable character #x0001"),
    "deep": ("a: " + "[" * 200, "t.yaml:1:103: nested deeper than 100 levels"),
    "very deep": ("a: " + "[" * 100_000, "nested deeper than 100 levels"),
    "deep block": ("\n".join(" " * i + "a:" for i in range(200)), "nested deeper than 100 levels"),
}


@pytest.mark.parametrize(("text", "message"), BROKEN.values(), ids=BROKEN)
def test_what_is_no_configuration_is_refused_with_its_place(text: str, message: str) -> None:
    assert message in problem(text)


def test_missing_files_directories_and_bad_bytes_are_clear_errors(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_bytes(b"a: 1\nb: \xff\n")
    (tmp_path / "big.yaml").write_bytes(b"#" * (16 * 2**20 + 1))
    cases = {
        str(tmp_path / "no.yaml"): "no such file",
        str(tmp_path): "is a directory; expected a YAML file",
        str(tmp_path / "bad.yaml"): ":2: byte 0xff is not UTF-8 text",
        str(tmp_path / "big.yaml"): "is larger than 16 MiB",
        str(tmp_path / "x\0y"): "cannot be read",
    }
    for path, message in cases.items():
        with pytest.raises(ConfigError) as caught:
            read_text(path, path)
        assert message in caught.value.problems[0]
        assert caught.value.problems[0].startswith(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_says_why(tmp_path: Path) -> None:
    path = tmp_path / "secret.yaml"
    path.write_text("a: 1")
    path.chmod(0)
    with pytest.raises(ConfigError, match="Permission denied"):
        read_text(str(path), "secret.yaml")


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "bom.yaml").write_bytes(b"\xef\xbb\xbfname: qa\n")
    assert normalize(tmp_path / "bom.yaml")["name"] == "qa"


WORDS = st.sampled_from(
    [
        "tree",
        "children",
        "id",
        "module",
        "server",
        "supervisor",
        "lm",
        "args",
        "limits",
        "memory",
        "x-a",
        "<<",
        "*a",
        "&a",
        "${X}",
        "${X:-1}",
        "$${",
        "a:B",
        "5s",
        "1GiB",
        "null",
        "true",
        "1",
        "-1",
        "1e400",
        "[",
        "]",
        "{",
        "}",
        ":",
        ": ",
        ",",
        "- ",
        "\n",
        "\n  ",
        "\t",
        "'",
        '"',
        "!!",
        "!!int",
        "|",
        "#",
        "none",
        "infinity",
        "restart",
        "backoff",
        "shutdown",
        "version",
        "name",
        "runtime",
        "defaults",
        "max_restarts",
        "concurrency",
        "?",
    ]
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.text(max_size=200), st.lists(WORDS, max_size=40).map("".join), st.lists(WORDS, max_size=40).map(" ".join)))
def test_any_text_is_a_configuration_or_a_config_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "fuzz.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    report = inspect(path, environ={})
    assert all(str(path) in line for line in report.problems)
    if not report.problems:
        parse(report.config)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=100))
def test_any_bytes_are_a_configuration_or_a_config_error(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "fuzz.yaml"
    path.write_bytes(data)
    inspect(path, environ={})
