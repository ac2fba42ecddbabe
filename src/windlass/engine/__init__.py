"""Plan, execute, reconcile, commit: how a run goes forward, and how it is steered from outside."""
