"""The store in the state directory: jobs, parts, batches, the journal of writes, the ledger."""
