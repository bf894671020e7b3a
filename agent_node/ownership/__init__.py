"""What a node takes and gives up: new sessions under bounded load, claims, and what a dead node left open."""
