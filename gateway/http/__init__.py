"""HTTP: connections, middleware, endpoints, request bodies and responses."""
