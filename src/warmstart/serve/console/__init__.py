"""The console: static files, served as they are."""
