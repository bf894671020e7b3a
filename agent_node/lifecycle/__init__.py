"""A node's life: its incarnations, what stands and falls with each, its drain and its end."""
