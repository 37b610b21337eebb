"""Answer problems by a run or a pretrained model: the command `mass-adapt`, from a checkout; see docs/tool.md.

python -m experiments.adapt --model runs/demo "f2,4,5 f0,9,10 f10,4,1 3>2 4>9 2>10 ? 9 6"
"""

from mass_jax.inference import command_line

if __name__ == "__main__":
    command_line.run()
