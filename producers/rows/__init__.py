"""Rows of the user's own: from files and objects of JSON, CSV or Parquet, and from a database."""
