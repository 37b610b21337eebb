"""The extras of setup.py, by what is imported of them; and a sentence where one is missing."""

import importlib.util

STUDY = """absl array_record chex etils gguf grain huggingface_hub jinja2 latex2sympy2_extended math_verify matplotlib
ml_collections ml_dtypes orbax pyarrow pydantic rich safetensors scipy sympy tensorboard tensorflow_datasets
tokenizers"""
EXTRAS = {
    "study": STUDY.split(),
    "eval": ["lm_eval", "yaml"],
    "serve": ["prometheus_client", "starlette", "uvicorn"],
}


class MissingExtraError(ModuleNotFoundError):
    """A part of the package is imported whose extra is not installed."""


def require(extra: str) -> None:
    """Call it where a part of the package begins that needs more than the core, before that is imported.

    Raises:
      MissingExtraError: a package of the extra is missing; the sentence names the extra.
    """
    if missing := [name for name in EXTRAS[extra] if importlib.util.find_spec(name) is None]:
        raise MissingExtraError(
            f"This part of mass_jax needs {', '.join(missing)}, not installed here: pip install 'mass_jax[{extra}]' "
            f"brings it; in a checkout, make setup EXTRAS={extra}."
        )
