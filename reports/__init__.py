"""Answer eight questions in SQL from the clean tables."""
