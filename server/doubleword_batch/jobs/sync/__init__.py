"""What is written to the provider and taken over from it: each write once, several at a time."""
