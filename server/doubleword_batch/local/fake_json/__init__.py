"""Generated JSON that fits a schema, for the simulator and the small built-in model."""
