"""Domains in the host: reading and writing their files as MODELs, and what a MODEL knows of its domain."""
