"""Classes of what stands here for objects of a hosted program: named as theirs, and with their source.

dspy's optimizers show a program's source to an LM, and find it with `inspect.getsource(type(program))`. It is fetched when that
asks. Owns the classes, which are gone when nothing is of them, and what `inspect` needs: a file in the line cache, and a module.
"""

from __future__ import annotations

import itertools
import linecache
import sys
from functools import partial
from types import ModuleType
from typing import Any, Final
from weakref import WeakValueDictionary, finalize

from dspex_runtime.errors import DspexError

_classes: Final[WeakValueDictionary[tuple[Any, ...], type]] = WeakValueDictionary()
_numbers: Final = itertools.count(1)


def class_for(base: type, label: str, ref: Any, name: str) -> type:
    """Return the subclass of `base` for objects of a class of a hosted program.

    Args:
        base: Ours.
        label: Name of the class in the process.
        ref: The reference to the process.
        name: Of a part of that class.
    """
    label = label.rpartition(".")[2]
    key = (base, ref, name, label)
    found = _classes.get(key)
    if found is None:
        module = ModuleType(f"{__name__}.hosted{next(_numbers)}")
        module.__file__ = f"{module.__name__}.{label}"
        sys.modules[module.__name__] = module
        namespace = {"__module__": module.__name__, "__qualname__": label, "__doc__": base.__doc__, "__firstlineno__": 1}
        found = _classes[key] = type(base)(label, (base,), namespace)
        linecache.cache[module.__file__] = _when_asked(ref, name, label, base)
        finalize(found, _forget, module.__name__, module.__file__).atexit = False
    return found


def renew(ref: Any) -> None:
    """Have the source of the classes of a process fetched again when somebody asks for it: it runs other code now."""
    for (base, of, name, label), cls in list(_classes.items()):
        if of == ref:
            linecache.cache[f"{cls.__module__}.{label}"] = _when_asked(ref, name, label, base)


def _when_asked(ref: Any, name: str, label: str, base: type) -> Any:
    """Return an entry of the line cache that is one function, which that calls when it is asked for the lines."""
    return (partial(_source, ref, name, label, base.__name__),)


def _source(ref: Any, name: str, label: str, base: str) -> str:
    try:
        source = ref.call("$mirror", source_of=name)
    except DspexError:
        source = None
    return source or f"class {label}({base}):\n    # The source of this program is not to be had.\n    pass\n"


def _forget(module: str, file: str) -> None:
    sys.modules.pop(module, None)
    linecache.cache.pop(file, None)
