"""The Parquet sink: chains of objects."""
