"""The service: a durable store, an in-memory index that follows it, and a REST API over both."""
