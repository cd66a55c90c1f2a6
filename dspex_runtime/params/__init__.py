"""Parameters in shared memory: the table, its one writer, and readers that ask nobody."""
