"""Runs scenarios through Erlang's own supervisor: compiles erlang/*.erl to a temporary folder, starts one `erl`, reads the logs."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

SOURCES: Final = Path(__file__).parent / "erlang"
ONE_SCHEDULER: Final = ("+S", "1:1", "+SDcpu", "1:1")  # what oracle.erl relies on


class ErlangMissingError(RuntimeError):
    """There is no `erl` and `erlc` on this machine."""


def require_erlang() -> None:
    """Raise ErlangMissingError when Erlang is not installed."""
    if shutil.which("erl") is None or shutil.which("erlc") is None:
        raise ErlangMissingError("erl and erlc are needed to ask OTP's supervisor: apt-get install erlang-base")


def versions() -> str:
    """Return the versions of OTP and stdlib that answer."""
    require_erlang()
    code = (
        'io:format("OTP ~s, stdlib ~s, erts ~s~n", [erlang:system_info(otp_release), '
        "begin application:load(stdlib), {ok, V} = application:get_key(stdlib, vsn), V end, erlang:system_info(version)]), halt()."
    )
    done = subprocess.run(["erl", "-noshell", "-eval", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def elixir_version() -> str:
    """Return the version of Elixir."""
    done = subprocess.run(["elixir", "-e", "IO.puts(System.version())"], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def elixir() -> str:
    """Return the folder with Elixir's own modules.

    Raises:
        ErlangMissingError: Elixir is not installed.
    """
    if shutil.which("elixir") is None:
        raise ErlangMissingError("elixir is needed to ask its DynamicSupervisor: apt-get install elixir")
    done = subprocess.run(["elixir", "-e", "IO.puts(:code.which(DynamicSupervisor))"], capture_output=True, text=True, check=True)
    return str(Path(done.stdout.strip()).parent)


def play(scenarios: Mapping[int, dict[str, Any]], *, with_elixir: bool = False) -> dict[int, list[str]]:
    """Return the log of each scenario, by its number.

    Args:
        scenarios: See `generator`; those with dynamic supervisors need `with_elixir`.
        with_elixir: Make Elixir's modules available.

    Raises:
        ErlangMissingError: See `require_erlang`.
        RuntimeError: A scenario could not be played; the text is Erlang's.
    """
    require_erlang()
    with tempfile.TemporaryDirectory(prefix="dspex-oracle-") as name:
        folder = Path(name)
        subprocess.run(["erlc", "-o", name, *map(str, sorted(SOURCES.glob("oracle*.erl")))], check=True)
        given, logs = folder / "scenarios", folder / "logs"
        with given.open("w", encoding="utf-8") as file:
            # Those that wait go first: the others are played meanwhile.
            ordered = sorted(scenarios, key=lambda number: -sum(step[0] == "wait" for step in scenarios[number]["steps"]))
            file.writelines(f"{{{number}, {term(scenarios[number])}}}.\n" for number in ordered)
        folders = [name, elixir()] if with_elixir else [name]
        code = f'oracle:main("{given}", "{logs}"), halt().'
        done = subprocess.run(
            ["erl", *ONE_SCHEDULER, "-noshell", "-noinput", "-pa", *folders, "-eval", code],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"erl failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
        return _read(logs)


def term(value: Any) -> str:
    """Return plain data as an Erlang term: dict -> map, str -> binary."""
    match value:
        case dict():
            return "#{" + ",".join(f"{term(key)}=>{term(item)}" for key, item in value.items()) + "}"
        case list():
            return "[" + ",".join(map(term, value)) + "]"
        case str():
            assert value.isascii()
            assert '"' not in value
            return f'<<"{value}">>'
        case bool():
            return str(value).lower()
        case int():
            return str(value)
        case _:
            raise TypeError(f"not plain data: {value!r}")


def _read(path: Path) -> dict[int, list[str]]:
    logs: dict[int, list[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("= "):
            current = logs[int(line[2:])] = []
        else:
            current.append(line)
    return logs
