"""Writes to the provider, each exactly once, and collects its results."""
