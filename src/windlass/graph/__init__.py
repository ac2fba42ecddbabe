"""Building APIs: Task, Pipeline and Graph, all compiled to one frozen Blueprint."""
