"""Bulk inference for AI agents over the Doubleword Batch API and every server of its shape."""
