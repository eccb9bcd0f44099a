"""What the scripts of this skill share: Python 3.9 and its standard library, nothing else."""
