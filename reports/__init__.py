"""The eight questions of the reports, answered from the clean tables."""
