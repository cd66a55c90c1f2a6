"""The store: SQLite, folded journals, checkpoints, and the keeper process that owns them."""
