"""Code shared by this skill's scripts: Python 3.9 and its standard library, nothing else."""
