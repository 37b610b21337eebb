"""Seconds to adapt to a problem and answer it, against the same procedure written with transformers and peft."""
