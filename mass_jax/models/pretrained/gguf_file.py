"""GGUF files: checked, dequantised, and put into our layout.

The `gguf` package trusts the lengths in a file's header. They are walked here first and held against the size of the
file, so that a damaged one ends in a sentence and not in a hang or an endless allocation.
"""

import math
import mmap
import os
import struct
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from mass_jax.models.pretrained import families, folder, gguf_config
from mass_jax.models.pretrained.errors import PretrainedError
from mass_jax.models.transformer import ModelConfig
from mass_jax.types import Params

_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of a metadata value of each fixed-size type."""
_STRING, _ARRAY = 8, 9
_MOST_DIMENSIONS = 4


class GGUF:
    """An open file.

    Attributes:
      path: of the file.
      metadata: all fields by name; arrays as lists.
      config: the architecture.
    """

    def __init__(self, path: str | os.PathLike[str]):
        """Check and open a file.

        Raises:
          PretrainedError: there is no such file, it is damaged, or its architecture is not supported.
        """
        self.path = Path(path)
        try:
            _check(self.path)
            reader = gguf.GGUFReader(self.path)
            self.metadata: dict[str, Any] = {name: field.contents() for name, field in reader.fields.items()}
            self._tensors = {tensor.name: tensor for tensor in reader.tensors}
        except PretrainedError:
            raise
        except FileNotFoundError:
            raise PretrainedError(f"there is no file {self.path}.") from None
        except Exception as error:  # noqa: BLE001 (whatever the package makes of a damaged file)
            raise _damaged(self.path, f"{type(error).__name__}: {error}") from None
        embed = self._tensors.get("token_embd.weight")
        if embed is None:
            raise PretrainedError(f"{self.path} has no tensor token_embd.weight: it is no language model.")
        if "rope_freqs.weight" in self._tensors:
            raise PretrainedError(
                f"{self.path} stretches its rotary frequencies by a table (Llama 3.1 does), which is not read from "
                "GGUF: use the safetensors checkpoint."
            )
        tied = "output.weight" not in self._tensors
        self.config = gguf_config.from_gguf(self.metadata, int(embed.shape[-1]), tied, str(self.path))

    def read(self, config: ModelConfig | None = None) -> Params:
        """The parameters, dequantised to float32; see `folder.read`."""
        config = config or self.config
        used: set[str] = set()
        llama = self.metadata["general.architecture"] == "llama"

        def get(tensor: families.Tensor, layer: int | None) -> np.ndarray | None:
            name = tensor.gguf.format(layer)
            if name not in self._tensors:
                return None
            used.add(name)
            stored = self._tensors[name]
            array = np.asarray(gguf.dequantize(stored.data, stored.tensor_type), np.float32)
            heads = {"q_proj": config.heads, "k_proj": config.kv_heads}.get(tensor.ours[0])
            if llama and heads is not None:
                # Llama's converter interleaves the two halves that a rotation pairs; undone here.
                array = array.reshape(heads, -1, 2, *array.shape[1:]).swapaxes(1, 2).reshape(array.shape)
            if config.norm_plus_one and (tensor.ours[-1] == "scale" or tensor.ours == ("final_norm",)):
                array = array - 1  # Gemma's converter stores what a norm multiplies by
            return array

        name = lambda tensor, layer: tensor.gguf.format(layer)  # noqa: E731
        params = folder.assemble(config, get, name, "float32", None, str(self.path))
        if unknown := sorted(set(self._tensors) - used):
            raise PretrainedError(f"{self.path} holds tensors that its architecture does not have: {unknown[:8]}.")
        return params


def _check(path: Path) -> None:
    """Walk the header: every length must fit into the file, and every tensor lie within it."""
    size = path.stat().st_size
    if size < 24:
        raise _damaged(path, f"it has {size} bytes")
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        place = 0

        def take(form: str) -> Any:
            nonlocal place
            length = struct.calcsize(form)
            if place + length > size:
                raise _damaged(path, f"its header ends after {size} bytes")
            (value,) = struct.unpack_from(form, data, place)
            place += length
            return value

        def skip(length: int) -> bytes:
            nonlocal place
            if length > size - place:
                raise _damaged(path, f"at byte {place} it announces {length} bytes, but has {size - place} left")
            place += length
            return data[place - length : place] if length < 1 << 16 else b""

        def value(kind: int) -> Any:
            if kind == _STRING:
                return skip(take("<Q"))
            if kind == _ARRAY:
                of, count = take("<I"), take("<Q")
                if of in _SIZES:
                    skip(count * _SIZES[of])
                elif of == _STRING and count * 8 <= size - place:
                    for _ in range(count):
                        skip(take("<Q"))
                else:
                    raise _damaged(path, f"an array of {count} values of type {of}")
                return None
            if kind not in _SIZES:
                raise _damaged(path, f"a value of type {kind}")
            return int.from_bytes(skip(_SIZES[kind]), "little")

        if data[:4] != b"GGUF":
            raise PretrainedError(f"{path} is no GGUF file: it begins with {data[:4]!r}.")
        place = 4
        version, tensors, fields = take("<I"), take("<Q"), take("<Q")
        if version not in (2, 3):
            raise PretrainedError(
                f"{path} is GGUF version {version}; supported are 2 and 3, of little-endian machines."
            )
        # The least that a field or a tensor takes bounds how many there can be.
        if fields * 13 > size or tensors * 32 > size:
            raise _damaged(path, f"it announces {fields} fields and {tensors} tensors in {size} bytes")
        alignment, names = gguf.GGUF_DEFAULT_ALIGNMENT, set()
        for _ in range(fields):
            key = skip(take("<Q"))
            found = value(take("<I"))
            if key == b"general.alignment":
                alignment = found
            if key in names:
                raise _damaged(path, f"it has the field {key!r} twice")
            names.add(key)
        if not alignment or alignment & (alignment - 1) or alignment > 1 << 20:
            raise _damaged(path, f"its alignment is {alignment}")
        ends = []
        for _ in range(tensors):
            skip(take("<Q"))
            dimensions = take("<I")
            if not 1 <= dimensions <= _MOST_DIMENSIONS:
                raise _damaged(path, f"a tensor of {dimensions} dimensions")
            count = math.prod(take("<Q") for _ in range(dimensions))
            kind, offset = take("<I"), take("<Q")
            if kind not in gguf.GGML_QUANT_SIZES:
                raise _damaged(path, f"a tensor of type {kind}")
            block, bytes_of_block = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType(kind)]
            ends.append(offset + count // block * bytes_of_block)
        start = -(-place // alignment) * alignment
        if ends and start + max(ends) > size:
            raise _damaged(path, f"its tensors end at byte {start + max(ends)}, but it has {size}")


def _damaged(path: Path, what: str) -> PretrainedError:
    return PretrainedError(f"{path} is damaged or incomplete ({what}): get it again.")
