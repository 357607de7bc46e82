"""Training dynamics: optimizers, trajectories, effective learning rates and the closed-form laws they obey."""
