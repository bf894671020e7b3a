"""What each tenant, and each subject of one, may take of the cluster: the limits, the counts, and who is refused."""
