"""Invariances: proofs for all sizes, exact witnesses against them, tables, and what they do to the Fisher matrix."""
