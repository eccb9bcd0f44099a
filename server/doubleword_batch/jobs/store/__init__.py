"""What the state directory holds: jobs, parts, batches, the journal of writes, the ledger."""
