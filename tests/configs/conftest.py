"""The example programs are found as the runtime finds them: with the YAML's own folder first on sys.path."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

CONFIGS = Path(__file__).resolve().parents[2] / "configs"

if str(CONFIGS) not in sys.path:
    sys.path.insert(0, str(CONFIGS))


@pytest.fixture(scope="session")
def configs() -> Path:
    return CONFIGS


@pytest.fixture(scope="session")
def retriever() -> object:
    pytest.importorskip("bm25s")
    from quickstart.retrieval import BM25

    return BM25(k=5)
