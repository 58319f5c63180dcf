"""Hostile files, mutants, kills, races, full disks and failing surroundings, as sweeps that print figures."""
