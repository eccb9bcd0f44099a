"""What the console shows: a job at a glance, its answers, a single row, its failures, a preview."""
