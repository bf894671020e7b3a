"""Certificates of a cluster's own authority: who signs, what they name, and how a process takes new ones up."""
