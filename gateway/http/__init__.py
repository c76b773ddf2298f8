"""HTTP: connections, requests and responses."""
