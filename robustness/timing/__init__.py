"""Whether the time of an answer tells what another tenant has."""
