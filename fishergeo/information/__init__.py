"""The numeric Fisher information matrix of a normalized GLM."""
