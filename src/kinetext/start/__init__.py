"""Before the first job: write a configuration for a user's videos (init), and check what a run needs (preflight)."""
