"""The source joined to its answers: as a file, or behind a query."""
