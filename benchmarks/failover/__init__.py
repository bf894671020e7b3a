"""How soon the sessions of a killed node answer again."""
