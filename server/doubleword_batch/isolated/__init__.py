"""Runs work that others shape (SQL, schemas, files) in a child process that can be killed.

A statement can compile forever and a pattern can hold the interpreter's lock: nothing inside our
own process could stop those. The child is a small interpreter without our environment, with limits
on memory and on file sizes; it is killed when its time is up or when nobody waits any more, and it
ends itself when we are gone.

`process` starts it and talks to it; `child` is what runs there, with `sql_child`, `schema_child` or
`files_child` for the work itself. A child imports nothing else from this package.
"""
