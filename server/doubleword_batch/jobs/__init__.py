"""Jobs: our records of batch work, from the request files to the table of answers."""
