"""Answer nine questions in SQL from the clean tables."""
