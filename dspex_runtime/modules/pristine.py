"""Loading dspy states any number of times: always onto the signature that a predictor was built with.

`Signature.load_state` wraps every field once more, and at the 141st load of one predictor dspy recurses to death. So the first
load of a predictor keeps the signature it starts from, in the predictor itself (a copy of it is loaded in its turn), and every
later one starts there again. Owns that one attribute. Never loads an LM.
"""

from __future__ import annotations

from typing import Any, Final

import dspy

# Of a predictor's __dict__. A class: copies share it, and a pickle holds its module-level part once.
ATTRIBUTE: Final = "_dspex_signature"


def pristine(predictor: dspy.Predict) -> Any:
    """Return the signature that a state is to be loaded onto, and keep it for the next time.

    It is the first one seen; once code gave the predictor other fields, the one with those.
    """
    attributes = predictor.__dict__
    current = attributes["signature"]
    kept = attributes.get(ATTRIBUTE)
    if kept is None or (kept is not current and _shape(kept) != _shape(current)):
        kept = attributes[ATTRIBUTE] = current
    return kept


def _shape(signature: Any) -> list[tuple[str, Any]]:
    return [(name, field.annotation) for name, field in signature.fields.items()]
