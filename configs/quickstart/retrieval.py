"""BM25 over the standard library's docstrings, as a plain dspy.Module: nothing in it knows that it runs in a process of its own."""

from __future__ import annotations

import sys
import time
from typing import Any

import bm25s
import dspy

from quickstart.documents import Document, standard_library
from quickstart.words import sentences, terms

PASSAGE_CHARS = 600


class BM25(dspy.Module):  # type: ignore[misc]  # dspy is not typed
    """Finds the documents that fit a query. The index is built once, at the start, and only read afterwards.

    Safe to call from several threads, so `concurrency: 4` in the YAML is real: the scoring is numpy's.
    """

    def __init__(self, k: int = 5) -> None:
        super().__init__()
        begun = time.perf_counter()
        self.k = k
        self._documents = standard_library()
        self._index = bm25s.BM25(k1=1.2, b=0.6)  # b below the usual 0.75: a long docstring here is a thorough one
        self._index.index([_weighted(document) for document in self._documents], show_progress=False)
        print(f"indexed {len(self._documents)} docstrings in {time.perf_counter() - begun:.2f} s", file=sys.stderr)

    def forward(self, query: str, k: int | None = None) -> dspy.Prediction:
        """Return the k best passages, best first: `passages` ("name: text"), `names`, `scores`."""
        known = [term for term in terms(query) if term in self._index.vocab_dict]
        if not known:
            return dspy.Prediction(passages=[], names=[], scores=[])
        wanted = min(k or self.k, len(self._documents))
        places, scores = self._index.retrieve([known], k=wanted, show_progress=False)
        hits = [(self._documents[int(place)], float(score)) for place, score in zip(places[0], scores[0], strict=True) if score > 0]
        return dspy.Prediction(
            passages=[f"{document.name}: {document.text[:PASSAGE_CHARS]}" for document, _ in hits],
            names=[document.name for document, _ in hits],
            scores=[round(score, 3) for _, score in hits],
        )

    def size(self) -> dict[str, Any]:
        """Return what is indexed: `dspex call retriever size`."""
        return {"documents": len(self._documents), "terms": len(self._index.vocab_dict)}


def _weighted(document: Document) -> list[str]:
    # A term of the name or of the first sentence says more than one further down, so it counts double.
    first = "".join(sentences(document.text)[:1])
    return terms(document.name) * 2 + terms(first) + terms(document.text)
