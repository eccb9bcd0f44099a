"""What answers the local server's requests: a model, an upstream server, or a simulator."""
