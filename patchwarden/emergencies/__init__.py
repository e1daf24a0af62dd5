"""Emergencies from the command line: what is wanted, whom it meets, and how it goes."""
