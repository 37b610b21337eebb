"""Answer problems by a run or a pretrained model: the command `mass-adapt`, from a checkout; see docs/tool.md.

python -m experiments.adapt --model runs/demo "f7,8,5 f5,10,8 f0,3,10 3>4 4>6 2>5 ? 9 6"
"""

from mass_jax.inference import command_line

if __name__ == "__main__":
    command_line.run()
