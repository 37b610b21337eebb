"""A suite of runs: a manifest of jobs, each a process with a folder of its own, done one after the other."""
