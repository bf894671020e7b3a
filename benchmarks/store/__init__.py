"""What a durable store costs, beside the one in memory. Nothing of the product imports it."""
