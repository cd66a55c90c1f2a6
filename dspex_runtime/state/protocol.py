"""What the parent and its keeper say to each other, and what the parent and a module say about kept things. The words only.

    python -P -m dspex_runtime.state.keeper --sock=FD --lifeline=FD

Parent -> keeper `[n, op, args]` with descriptors where the table says so; n = 0: no answer is wanted. Keeper -> parent
`[n, "ok", value, fds]`, `[n, "error", fault]`, `[0, "event", facts]`. `fds` is how many descriptors come with it; more than
FDS_AT_ONCE come before it, in `[n, "fds", count]` messages. Take them in the order in which they come.

    op                 args; [+n descriptors]                     answer; [+n descriptors]
    open               state_dir, fresh, shared, again            {ids: {id: noted facts}, kept: [ids that `give` is for]}
                       again: it takes another one's place, and refuses no store
    table              id, incarnation [+1]                       the id's table, from its module
    blob               id, incarnation, name, version [+1]        the newest BLOBS_KEPT of a name are held
    volatile           id, incarnation [+1]                       journal of durability memory
    give               id, incarnation                            see GIVE; from here on that incarnation writes
    reader             id                                         None [+1: a table to read; +0: there is none]
    blob_of            id, name, version                          None [+1 or +0]
    configured         id, values                                 YAML values that a READY module has taken over
    note               id, facts                                  restarts and the like, shown again after `up`
    ended              id, incarnation, facts                     an incarnation is gone: its journal is folded
    fold               id                                         a segment of its journal is complete
    history            id, name, n                                [{version, when, who, value, old, removed, bytes}], newest first
    value_at           id, name, version                          data, or None: it is not kept
    set                id, name, value (data), who, expect        [version, when]; this and the next two while no incarnation lives
    rollback, reset    id, name, who; rollback: version           [version, when]
    shared_set ...     the same three with id SHARED
    executions         id, n                                      [execution], newest first
    metrics            id                                         {calls, failures, busy_ns, last_error} of all incarnations, or {}
    stage              id, stage [+1: the image]                  of a part, whose owner's image follows: "stage" is its number
    checkpoint         id, kind, keep [+1: the image]             info: the map of `types.CheckpointInfo`
                       stage, parts: [id]                         of an owner, with what was staged: stored together
    checkpoints        id                                         [info], newest first
    image              id, number | None                          info [+1]; None: the newest whole one
    images             id, number | None                          [info] [+n], the owner's first, then those that it names of parts
    export             id, number | None                          info [+1: a file with its proof]
    import             id, keep [+1: such a file]                 info
    prune              id, keep | numbers                         [numbers that are gone]
    restored           members: [[id, number]], keep              [info]; modules were put back to these, so they are the newest now
    restore_stopped    members: [[id, number]], who, keep         {restored, newest}: [info]; all or none, while none of them lives
    drop               id                                         None: all of it is forgotten
    events             records (packed)
    past_events        n                                          [event], oldest first
    figures                                                       {ids, tables, blobs, alive, queued, max_rss_kb}
    close                                                         every journal is folded, then the keeper ends

"data" is a value as `params.values.encode` writes it; in a history only while it is small, else None and "bytes" says its size.
An execution is the map of `host.metrics`.

Events: {"type": "alarm_set" | "alarm_cleared", "alarm": word, "description": text}, {"type": "report", "text", "id"},
{"type": "changed", "id", "name", "version", "when", "who", "value"} for what the keeper itself has written,
{"type": "table" | "blob" | "volatile", "id", (blob: "name", "version")} [+1] for what it made itself: the parent holds a copy of
every descriptor for the next keeper.

GIVE, as the module gets it in `[CONTROL, 0, KEPT, info]`; descriptors in this order: table, blobs, volatile, user, rest.
Those that do not fit come before it in `[CONTROL, 0, KEPT_PART, {"fds": n}]` messages: leave them in the channel, in order.

    {"table": bool, "blobs": [[name, version], ...], "volatile": bool, "user": bool (a memfd of the user state's bytes),
     "user_version": str | None,                  of the module that kept that state
     "rest": bool (a memfd: {"rest", "mode"} of a checkpoint that a stopped module was put back to; once),
     "stored": {name: [version, data, annex]}     {} where there is a table; data True: it is that version's blob; None: removed
     "configured": {name: data},                  the YAML's values that were last taken over
     "facts": map}                                what modules last kept: mode, class, version ...

A checkpoint image is `params.image`'s; its `user` is what GIVE gives back.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "ALARM_KEEPER",
    "ALARM_STORE",
    "BLOBS_KEPT",
    "FDS_AT_ONCE",
    "KEPT",
    "KEPT_PART",
    "NO_ANSWER",
    "OFFERS",
    "SHARED",
    "WRITES",
]

NO_ANSWER: Final = 0
FDS_AT_ONCE: Final = 16  # what one message of the keeper brings: the parent's `Peer` takes no more at a time
BLOBS_KEPT: Final = 2  # versions of one name: a writer may be killed between offering the new one and publishing it
SHARED: Final = "$shared"  # the id of the runtime-wide parameters; the keeper is their one writer
OFFERS: Final = frozenset({"table", "blob", "volatile"})  # events of a module that bring one descriptor for the keeper
WRITES: Final = frozenset({"set", "rollback", "reset", "shared_set", "shared_rollback", "shared_reset", "restore_stopped"})
KEPT: Final = "kept"
KEPT_PART: Final = "kept_part"
ALARM_STORE: Final = "state_store"
ALARM_KEEPER: Final = "state_keeper"  # the parent's own: there is no keeper, or it does not answer
