"""Reporting: the questions that are put to what resource data sync wrote, here by DuckDB and in the cloud by Athena."""
