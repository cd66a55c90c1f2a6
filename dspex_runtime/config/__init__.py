"""YAML and dicts to specs; every mistake of a file at once, each with its line.

normalize(file or dict) -> plain data     where the file is: the client, the CLI
parse(plain data)       -> RuntimeSpec    where the tree is: the runtime
parse_child(dict)       -> ChildSpec      rt.start, rt.start_child
inspect(file or dict)   -> Report         `dspex validate`: problems and warnings
json_schema()                             `dspex schema`
suggest(word, allowed)                    "did you mean 'x'?"
"""

from dspex_runtime.config.normalise import Report as Report
from dspex_runtime.config.normalise import inspect as inspect
from dspex_runtime.config.normalise import normalize as normalize
from dspex_runtime.config.normalise import parse as parse
from dspex_runtime.config.normalise import parse_child as parse_child
from dspex_runtime.config.runtime_spec import RuntimeSpec as RuntimeSpec
from dspex_runtime.config.schema import json_schema as json_schema
from dspex_runtime.config.suggestions import suggest as suggest

__all__ = ["Report", "RuntimeSpec", "inspect", "json_schema", "normalize", "parse", "parse_child", "suggest"]
