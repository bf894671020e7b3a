"""Robustness: chaos, soak, abuse and fuzz. The scripts of these names start them."""
