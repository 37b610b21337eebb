"""A stream of problems from one learner or client: what its updates leave behind, and how far that may go."""
