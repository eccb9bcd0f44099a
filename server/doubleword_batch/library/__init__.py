"""The library's front door: `Jobs` and `Job`, their results, and `run`."""
