"""Result lines into the ledger: read, understood, one outcome a row."""
