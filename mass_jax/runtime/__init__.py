"""What every run needs: its directory, command line, checkpoints, metrics and guards."""
