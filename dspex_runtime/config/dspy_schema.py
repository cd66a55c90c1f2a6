"""The keys of `lm:` and `dspy:`: which language model a module has, and what its process gives to dspy. Imports no dspy.

Text that names an LM is a class when it is written like one ("file.py:Name", "pkg.mod:Name"), else a model of dspy.LM.
Settings that belong to a running call (trace, usage_tracker, send_stream, ...) are not for a configuration and unknown here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from dspex_runtime.config.collections_of import ListOf, MapOf
from dspex_runtime.config.problems import EnvText, Path, Problems
from dspex_runtime.config.quantities import Integer, Size
from dspex_runtime.config.section import Either, Key, Ref, Section
from dspex_runtime.config.targets import Target
from dspex_runtime.config.value_types import Boolean, Null, Opaque, Scalar, Text

__all__ = ["DSPY", "LM", "LM_TYPE", "MADE_KEYS"]

DEFAULT_HISTORY: Final = 1000  # dspy's own caps are 10 000 calls, 7 MB per process; a thousand modules live on one machine
MADE_KEYS: Final = ("adapter", "rm", "interpreter_factory", "callbacks")  # settings that are objects: made from a target
_SHORTEST_KEY: Final = 20  # characters; placeholders such as "none" and "sk-local" may stand in a file

_SECRET: Final = re.compile(r"api[_-]?key|secret|passw|authorization", re.IGNORECASE)
_FROM_ENVIRONMENT: Final = 'found a value (not shown) in the file; keys come from the environment: write "${NAME}"'
_PICKLED: Final = Key("pickled", Opaque(), "The object itself, from a client; class: is its name.", internal=True)


def _is_written(value: Any, problems: Problems) -> bool:
    """Whether a secret stands in the file itself: files are committed, copied and shown."""
    return bool(problems.source) and isinstance(value, str) and not isinstance(value, EnvText) and len(value) >= _SHORTEST_KEY


@dataclass(frozen=True, slots=True)
class Credential(Text):
    """A secret; in a file it comes from the environment."""

    def check(self, value: Any, path: Path, problems: Problems) -> Any:
        """Return the text, or INVALID after reporting it; no report shows any of it."""
        if isinstance(value, str) and any(not character.isprintable() for character in value.strip()):
            return problems.add(path, "found a value (not shown) with a line break or control character in it; allowed: one line")
        if _is_written(value, problems):
            return problems.add(path, _FROM_ENVIRONMENT)
        clean = Text.check(self, value, path, problems)
        return clean.strip() if isinstance(clean, str) else clean  # a secret read from a file often ends in a line break


class Options(Opaque):
    """Data that is handed on; what is called like a secret in it is one."""

    def check(self, value: Any, path: Path, problems: Problems) -> Any:
        """Return a copy, or INVALID after reporting a secret in the file."""
        if _is_written(value, problems) and any(isinstance(step, str) and _SECRET.search(step) for step in path[-2:]):
            return problems.add(path, _FROM_ENVIRONMENT)
        return Opaque.check(self, value, path, problems)


@dataclass(frozen=True, slots=True)
class LmText(Scalar):
    """The short form of `lm:`; the plain value is the map that it stands for."""

    expects: str = 'a model such as openai/gpt-4o-mini, or a class as "file.py:MyLM"'

    def read(self, value: Any) -> dict[str, str] | None:
        """Return {"class": ...} or {"model": ...}; None for a variable that is empty: no language model."""
        if not isinstance(value, str) or (not value.strip() and not isinstance(value, EnvText)):
            raise ValueError("no text")
        text = str.__str__(value)
        if not text.strip():
            return None
        try:
            return {"class": Target().read(text)}
        except ValueError:
            return {"model": text}

    def json(self) -> dict[str, Any]:
        """A string."""
        return {"type": "string"}


_ARGS: Final = Either((MapOf(Options(), "a map"), ListOf(Options(), "a list of positional arguments")))


def _made(title: str) -> Either:
    """An object by its class, by a function that returns it, or by the name it has in a file."""
    keys = (
        Key(
            "class",
            Target(),
            'Its class, a function that makes it, or itself: "file.py:Name", "pkg.mod:Name".',
            required=True,
        ),
        Key("args", _ARGS, "Arguments of the class or function: a map of keywords or a list."),
        _PICKLED,
    )
    return Either((Target(), Section(title=title, keys=keys)))


_CALLBACKS: Final = ListOf(_made("a callback"), 'a list of callbacks, each "pkg:Class" or {class:, args:}')

_LM = Section(
    title="lm",
    switch="model",
    extra=Options(),
    keys=(
        Key(
            "model",
            Text("text such as openai/gpt-4o-mini"),
            "Model name as dspy.LM takes it; empty by `${VAR:-}`: no language model.",
        ),
        Key("api_base", Text("text (a URL)", empty=True), "Endpoint of an OpenAI-compatible server."),
        Key("api_key", Credential("text", empty=True), "Secret of the endpoint, from the environment; never written anywhere."),
        Key("callbacks", _CALLBACKS, "dspy callbacks of this LM alone."),
        Key("class", Target(), 'A dspy.BaseLM of your own instead of a model, as "file.py:MyLM".'),
        Key("args", _ARGS, "Constructor arguments of the class."),
        _PICKLED,
    ),
)
LM: Final = Ref("lm", lambda: _LM)
LM_TYPE: Final = Either((LM, LmText(), Null()))

_CACHE = Section(
    title="cache",
    keys=(
        Key(
            "dir",
            Text("text (a directory)"),
            "Where answers are kept, for all who name it. Default: $DSPY_CACHEDIR or ~/.dspy_cache.",
        ),
        Key("disk", Boolean(), "Keep answers on disk. Opened at the first call that asks; where it cannot be: memory only.", True),
        Key("memory", Boolean(), "Keep answers in the process, too.", True),
        Key("disk_size", Size(2**20), "The oldest answers on disk go above this.", "30GB"),
        Key("memory_entries", Integer(1), "Answers kept in each process.", 1_000_000),
    ),
)

DSPY: Final = Section(
    title="dspy",
    keys=(
        Key("track_usage", Boolean(), "Count tokens per prediction (dspy.settings.track_usage).", False),
        Key(
            "adapter",
            _made("an adapter"),
            'The adapter, as "dspy:JSONAdapter" or "file.py:MyAdapter". Default: ChatAdapter.',
        ),
        Key(
            "callbacks",
            _CALLBACKS,
            'dspy callbacks, as ["mlflow.dspy:autolog", "file.py:MyCallback"]: a class, an object, or a function that makes one or '
            "installs one itself.",
        ),
        Key("rm", _made("a retrieval model"), "The retrieval model of dspy.Retrieve."),
        Key(
            "interpreter_factory",
            _made("a factory"),
            "Makes the interpreters of modules that run code; called without arguments.",
        ),
        Key("num_threads", Integer(1), "Threads of dspy.Parallel, batch and Evaluate inside the module.", 8),
        Key("async_max_workers", Integer(1), "Worker threads of dspy.asyncify inside the module.", 8),
        Key("max_errors", Integer(1), "Failures after which batch, Parallel and Evaluate give up.", 10),
        Key("provide_traceback", Boolean(), "Log the traceback of an item of a batch that failed.", False),
        Key("disable_history", Boolean(), "Keep no LM calls in the process (dspy.inspect_history).", False),
        Key("max_history_size", Integer(0), "LM calls kept in the process.", DEFAULT_HISTORY),
        Key("max_trace_size", Integer(0), "Predictor calls kept in dspy.settings.trace.", DEFAULT_HISTORY),
        Key("warn_on_type_mismatch", Boolean(), "Log a warning when an input is not of its field's type.", True),
        Key("allow_tool_async_sync_conversion", Boolean(), "Let a sync call use an async tool.", False),
        Key(
            "cache",
            Either((_CACHE, Boolean())),
            "The cache of LM answers; false: none. Default: dspy's own.",
            True,
        ),
    ),
)
