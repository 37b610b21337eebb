"""GGUF files, whole or in parts: what they describe, and their weights, dequantised and put into our layout."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np

from mass_jax.models.config import ModelConfig
from mass_jax.models.pretrained import families, folder, gguf_config, gguf_header
from mass_jax.models.pretrained.errors import PretrainedError
from mass_jax.types import Params

_AT_ONCE = 1 << 17
"""Numbers that are dequantised in one piece, which then lie in a core's cache."""


class GGUF:
    """An open file, or the parts that one was split into.

    Attributes:
      path: of the file, or of the first part.
      parts: all files.
      metadata: all fields by name; arrays as lists. Those of the first part, which has all that counts.
      config: the architecture.
    """

    def __init__(self, path: str | os.PathLike[str]):
        """Check and open a file; of several parts the first, with the others beside it.

        Raises:
          PretrainedError: there is no such file, it is damaged, parts are missing, or its architecture is not
            supported.
        """
        self.path = Path(path)
        self.metadata, self._tensors = gguf_header.read(self.path)
        self.parts = _parts(self.path, self.metadata)
        for part in self.parts[1:]:
            _, more = gguf_header.read(part)
            if twice := set(more) & set(self._tensors):
                raise PretrainedError(f"{part} holds {min(twice)[:80]}, as another part does: get the parts again.")
            self._tensors |= more
        announced = self.metadata.get("split.tensors.count", len(self._tensors))
        if announced != len(self._tensors):
            raise PretrainedError(
                f"{self.path} announces {announced!r:.40} tensors in all its parts, which have {len(self._tensors)}: "
                "get the parts again."
            )
        embed = self._tensors.get("token_embd.weight")
        if embed is None:
            raise PretrainedError(f"{self.path} has no tensor token_embd.weight: it is not a language model.")
        if "rope_freqs.weight" in self._tensors:
            raise PretrainedError(
                f"{self.path} stretches its rotary frequencies by a table (Llama 3.1 does), which is not read from "
                "GGUF: use the safetensors checkpoint."
            )
        tied = "output.weight" not in self._tensors
        self.config = gguf_config.from_gguf(self.metadata, embed.shape[0], tied, str(self.path))

    def read(
        self,
        config: ModelConfig | None = None,
        new: folder.New | None = None,
        show: Callable[[int, int], None] = lambda done, all_: None,
    ) -> Params:
        """The parameters, dequantised to float32; see `folder.read`.

        Args:
          config: the architecture where it is another than the file's.
          new: makes the array of a parameter, see `folder.assemble`.
          show: is told how many tensors of how many are read.

        Raises:
          PretrainedError: a tensor is missing, unknown, of another shape, or holds what is no number.
        """
        config = config or self.config
        used: set[str] = set()
        self._refuse_absent(config)
        llama = self.metadata["general.architecture"] == "llama"

        def get(tensor: families.Tensor, layer: int | None) -> np.ndarray | None:
            name = tensor.gguf.format(layer)
            if name not in self._tensors:
                return None
            used.add(name)
            array = _dequantised(self._tensors[name], name)
            show(len(used), len(self._tensors))
            heads = {"q_proj": config.heads, "k_proj": config.kv_heads}.get(tensor.ours[0])
            if llama and heads is not None and array.shape[0] == heads * config.head_dim:
                # Llama's converter interleaves the two halves that a rotation pairs; undone here.
                array = array.reshape(heads, -1, 2, *array.shape[1:]).swapaxes(1, 2).reshape(array.shape)
            if config.norm_plus_one and (tensor.ours[-1] == "scale" or tensor.ours == ("final_norm",)):
                array = array - 1  # Gemma's converter stores what a norm multiplies by
            return array

        name = lambda tensor, layer: tensor.gguf.format(layer)  # noqa: E731
        params = folder.assemble(config, get, name, "float32", None, str(self.path), new)
        if unknown := sorted(set(self._tensors) - used):
            raise PretrainedError(
                f"{self.path} holds tensors that its architecture does not have: {', '.join(unknown[:8])[:300]}."
            )
        return params

    def _refuse_absent(self, config: ModelConfig) -> None:
        """Before any room is made: a damaged file may announce more layers than there is memory for."""
        absent = [
            name
            for tensor in families.layer_tensors(config)
            if tensor.ours in _REQUIRED
            for layer in range(config.layers)
            if (name := tensor.gguf.format(layer)) not in self._tensors
        ]
        if absent:
            raise PretrainedError(f"{self.path} lacks {len(absent)} tensors: {', '.join(absent[:8])}.")


_REQUIRED = {("q_proj", "kernel"), ("down_proj", "kernel"), ("mlp_norm", "scale")}


def _parts(path: Path, metadata: gguf_header.Metadata) -> list[Path]:
    """All files of a model that was split; the file alone where it was not."""
    count, number = metadata.get("split.count", 1), metadata.get("split.no", 0)
    if type(count) is not int or type(number) is not int or not 0 <= number < max(count, 1) <= 10_000:
        raise PretrainedError(f"{path} says that it is part {number!r:.40} of {count!r:.40}: get it again.")
    if count <= 1:
        return [path]
    stem = re.fullmatch(r"(.*)-\d{5}-of-\d{5}\.gguf", path.name)
    if stem is None or number:
        raise PretrainedError(
            f"{path} is part {number + 1} of {count}: give the first, named like model-00001-of-{count:05}.gguf, with "
            "the others beside it."
        )
    parts = [path, *(path.with_name(f"{stem[1]}-{i:05}-of-{count:05}.gguf") for i in range(2, count + 1))]
    if absent := [part.name for part in parts if not part.is_file()]:
        raise PretrainedError(f"{path} is part 1 of {count}, and {absent[0]} is not beside it: get all {count} parts.")
    return parts


def _dequantised(stored: gguf_header.Stored, name: str) -> np.ndarray:
    """A tensor in float32, in pieces: rows at once are few, whatever their length."""
    block, size = gguf.GGML_QUANT_SIZES[stored.kind]
    raw = np.memmap(stored.path, np.uint8, "r", stored.start, (stored.size,)).view(np.ndarray)
    found = np.empty(stored.size // size * block, np.float32)
    blocks = max(1, _AT_ONCE // block)
    for start in range(0, stored.size // size, blocks):
        piece = raw[start * size : (start + blocks) * size]
        found[start * block : (start + blocks) * block] = _piece(piece, stored.kind, size)
    if not np.isfinite(found).all():
        raise PretrainedError(f"{stored.path} holds weights in {name} that are not finite: get it again.")
    return found.reshape(stored.shape)


def _piece(raw: np.ndarray, kind: gguf.GGMLQuantizationType, size: int) -> np.ndarray:
    """Blocks of one type as numbers; the package takes 16 rows at once, so the blocks are spread over as many."""
    rows = next(rows for rows in (16, 8, 4, 2, 1) if raw.size % (rows * size) == 0)
    with np.errstate(all="ignore"):  # what is no number is refused
        return gguf.dequantize(raw.reshape(rows, -1), kind).reshape(-1)
