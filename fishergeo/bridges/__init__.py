"""Models of other libraries as models of this one: statsmodels, scikit-learn and PyTorch."""
