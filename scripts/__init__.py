"""What is run by hand and by CI beside the processes themselves."""
