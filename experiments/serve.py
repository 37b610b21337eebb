"""Serve a model over HTTP in the form of OpenAI's interface, each request adapted to before it is answered.

    pip install -e '.[study,serve]'
    python -m experiments.serve --model=runs/demo --arm=mass

The same as ``mass-serve``; docs/serving.md has what clients may ask for.
"""

from mass_jax.serving import command_line

if __name__ == "__main__":
    command_line.run()
