"""What verify asks of tables and sources."""
