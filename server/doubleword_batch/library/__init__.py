"""The library: `Jobs` and `Job`, their results, and `run`."""
