"""`python -m doubleword_batch`: the same as the command `doubleword-batch`."""

from doubleword_batch.cli import main

if __name__ == "__main__":
    main()
