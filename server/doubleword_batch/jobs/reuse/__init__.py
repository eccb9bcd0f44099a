"""Never paying for the same answer twice: equal rows of a job, and answers of earlier jobs."""
