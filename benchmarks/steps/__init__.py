"""What a step of a run costs."""
