"""What the router answers itself: served on a unix socket, to the relay one more node."""
