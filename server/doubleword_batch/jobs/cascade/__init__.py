"""A cheap model first: which of its answers stand is decided by a sample of a strong model's."""
