"""The demo: a real data set, a real job, a small model on this machine."""
