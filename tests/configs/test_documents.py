from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from quickstart.documents import MAX_CHARS, Document, standard_library


@pytest.fixture(scope="module")
def documents() -> dict[str, Document]:
    return {document.name: document for document in standard_library()}


@pytest.mark.parametrize(
    "name",
    [
        "itertools.groupby", "itertools", "math.gcd", "subprocess.run", "pathlib.Path.glob", "tempfile.NamedTemporaryFile",
        "collections.deque", "collections.Counter.most_common", "os.walk", "os.listdir", "os.path.join", "functools.partial",
        "asyncio.run", "asyncio.Queue", "concurrent.futures.Future", "builtins.len", "json.loads", "io.open",
    ],
)  # fmt: skip
def test_a_thing_is_documented_under_the_name_users_import(documents: dict[str, Document], name: str) -> None:
    assert documents[name].text


@pytest.mark.parametrize(
    "name", ["asyncio.runners.run", "posix.listdir", "posixpath.join", "concurrent.futures._base.Future", "_io.open"]
)
def test_private_homes_of_public_things_are_not_shown(documents: dict[str, Document], name: str) -> None:
    assert name not in documents


def test_no_document_is_private_or_empty_or_endless(documents: dict[str, Document]) -> None:
    assert len(documents) > 3000
    for document in documents.values():
        assert not any(part.startswith("_") for part in document.name.split("."))
        assert 0 < len(document.text) <= MAX_CHARS


def test_python_modules_are_parsed_and_not_imported() -> None:
    code = "import sys; from quickstart.documents import standard_library as s; s(); print({'this', 'smtplib'} & set(sys.modules))"
    configs = Path(__file__).resolve().parents[2] / "configs"
    done = subprocess.run([sys.executable, "-c", code], cwd=configs, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "set()"
