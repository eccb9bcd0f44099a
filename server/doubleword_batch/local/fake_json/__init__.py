"""Made-up JSON that fits a schema, for the simulator and for the small built-in model."""
