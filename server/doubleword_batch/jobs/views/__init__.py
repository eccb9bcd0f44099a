"""What a person looks at: a job at a glance, its answers, one row, its failures, a preview."""
