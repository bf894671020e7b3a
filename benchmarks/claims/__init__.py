"""What claims cost."""
