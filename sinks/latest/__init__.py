"""The table of the latest row of each key: a view of an append table, kept by the tables' logs."""
