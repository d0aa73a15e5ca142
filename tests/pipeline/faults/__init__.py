"""Faults: what dies, hangs or fills up during a run, and what is there afterwards."""
