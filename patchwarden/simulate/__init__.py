"""Simulate: the real verbs over a small world, from a seed, with faults at every outside call."""
