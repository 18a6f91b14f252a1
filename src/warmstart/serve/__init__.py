"""The service: a durable store, an index in memory that follows it, and an API over both."""
