"""The kinds of scorers, a file each: what is read of the practice, and the head that turns it into logits."""
