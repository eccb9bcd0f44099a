"""A cheap model first: a sample of a strong model's answers decides which cheap answers stay."""
