"""What a person looks at: jobs at a glance, pages of answers, one row whole, failures, a preview."""
