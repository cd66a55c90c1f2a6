"""What a runtime says of a group."""

from __future__ import annotations

from typing import Any


def group_facts(*members: str, seq: int, id: str = "qa") -> dict[str, Any]:
    """What the runtime says of a group whose replicas are all in their first incarnation."""
    about = {"call_timeout_s": 60.0, "idempotent": []}
    return {**about, "id": id, "members": [[of, 1, 1 + n] for n, of in enumerate(members)], "shares": True, "seq": seq}
