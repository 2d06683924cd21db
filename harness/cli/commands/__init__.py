"""What each verb of the command does: thin, and each imports what it needs."""
