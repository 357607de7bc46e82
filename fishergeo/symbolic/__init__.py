"""Interpreters of the definitions on symbols: index notation for all sizes, object arrays for exact small cases."""
