"""The source joined to its answers: written to a file, or queried."""
