"""Which answers of a job are to what was asked, as conditions on a row of the ledger."""

ASKED_AS_BUILT = """
    NOT EXISTS (SELECT 1 FROM batch_runs JOIN parts ON parts.id = batch_runs.part
    WHERE batch_runs.id = ledger.batch_run AND (parts.is_changed OR parts.model NOTNULL))
    AND NOT EXISTS (SELECT 1 FROM origins WHERE origins.job = ledger.job
    AND origins.number = ledger.origin AND origins.model NOTNULL)
"""
"""Of a row of the ledger: its answer is one to the request that was built for it."""

ASKED_OF_STRONG = """
    (EXISTS (SELECT 1 FROM batch_runs JOIN parts ON parts.id = batch_runs.part
    WHERE batch_runs.id = ledger.batch_run AND parts.model NOTNULL AND NOT parts.is_changed)
    OR EXISTS (SELECT 1 FROM origins WHERE origins.job = ledger.job
    AND origins.number = ledger.origin AND origins.model NOTNULL))
"""
"""The same of the request for the strong model of a cascade."""
