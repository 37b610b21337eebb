"""The header of a GGUF file: its fields and where its tensors lie, held against the size of the file.

Nothing in a file is trusted. Every count and length must fit into what is left of the file before anything is read or
allocated; a field is decoded when it is asked for, so that arrays that nobody needs cost nothing.
"""

import functools
import math
import mmap
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import gguf
import numpy as np

from mass_jax.models.pretrained.errors import PretrainedError

_NUMBERS = {
    0: "u1",
    1: "i1",
    2: "<u2",
    3: "<i2",
    4: "<u4",
    5: "<i4",
    6: "<f4",
    7: "u1",
    10: "<u8",
    11: "<i8",
    12: "<f8",
}
"""NumPy's names of the fixed-size types; 7 is a truth value."""
_BOOL, _STRING, _ARRAY = 7, 8, 9
_MOST_DIMENSIONS = 4
_MOST_FIELDS, _MOST_TENSORS, _MOST_STRINGS = 10_000, 200_000, 4_000_000
"""Far above what any model has, and read in less than a second or two."""


class Stored(NamedTuple):
    """A tensor in a file.

    Attributes:
      path: of the file.
      shape: as NumPy has it, [out, in] for a matrix.
      kind: how its numbers are written.
      start: its first byte in the file.
      size: bytes.
    """

    path: Path
    shape: tuple[int, ...]
    kind: gguf.GGMLQuantizationType
    start: int
    size: int


class Metadata(Mapping[str, Any]):
    """All fields of a file by name: numbers, truth values, text, and lists of them."""

    def __init__(self, reader: "_Reader", fields: dict[str, tuple[int, int]]):
        """``fields``: the type of each, and where its value begins."""
        self._reader, self._fields = reader, fields

    def __getitem__(self, name: str) -> Any:
        kind, place = self._fields[name]
        return self._reader.decoded(name, kind, place)

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)


def read(path: Path) -> tuple[Metadata, dict[str, Stored]]:
    """The fields and the tensors of a file.

    Raises:
      PretrainedError: there is no such file, it is not GGUF, or it is damaged.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(4)
            if head != b"GGUF":
                raise PretrainedError(f"{path} is not a GGUF file: it begins with {head!r}.")
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError:
        raise PretrainedError(f"there is no file {path}.") from None
    except OSError as error:
        raise PretrainedError(f"{path} cannot be read ({error.strerror}): give a GGUF file.") from None
    return _Reader(path, data).header()


class _Reader:
    """A place in a file, which moves on as it is read."""

    def __init__(self, path: Path, data: mmap.mmap):
        self._path, self._data, self._size, self._place = path, data, len(data), 4

    def header(self) -> tuple[Metadata, dict[str, Stored]]:
        version, tensors, fields = self._number("<I"), self._number("<Q"), self._number("<Q")
        if version not in (2, 3):
            raise PretrainedError(
                f"{self._path} is GGUF version {version}; supported are 2 and 3, of little-endian machines."
            )
        # The least that a field or a tensor takes bounds how many there can be.
        if fields > min(_MOST_FIELDS, self._size // 13) or tensors > min(_MOST_TENSORS, self._size // 32):
            raise self._damaged(f"it announces {fields} fields and {tensors} tensors in {self._size} bytes")
        places: dict[str, tuple[int, int]] = {}
        for _ in range(fields):
            name, kind = self._text("the name of a field"), self._number("<I")
            if name in places:
                raise self._damaged(f"it has the field {name!r} twice")
            places[name] = kind, self._place
            self._skip(name, kind)
        metadata = Metadata(self, places)
        return metadata, self._tensors(tensors, self._alignment(metadata))

    def decoded(self, name: str, kind: int, place: int) -> Any:
        """The value at a place that was walked over before."""
        self._place = place
        if kind == _STRING:
            return self._text(name)
        if kind != _ARRAY:
            return self._numbers(name, kind, 1)[0]
        of, count = self._number("<I"), self._number("<Q")
        if of == _STRING:
            return [self._text(name) for _ in range(count)]
        return self._numbers(name, of, count)

    def _tensors(self, count: int, alignment: int) -> dict[str, Stored]:
        found: dict[str, Stored] = {}
        for _ in range(count):
            name = self._text("the name of a tensor")
            dimensions = self._number("<I")
            if not 1 <= dimensions <= _MOST_DIMENSIONS:
                raise self._damaged(f"the tensor {name!r} has {dimensions} dimensions")
            shape = tuple(self._number("<Q") for _ in range(dimensions))[::-1]
            kind, offset = self._number("<I"), self._number("<Q")
            if kind not in gguf.GGML_QUANT_SIZES:
                raise self._damaged(f"the tensor {name!r} is of type {kind}")
            type_ = gguf.GGMLQuantizationType(kind)
            if not _is_read(type_):
                raise PretrainedError(
                    f"{self._path} holds {name} as {type_.name}, which is not read: quantise the model otherwise, for "
                    "example as Q8_0."
                )
            block, size = gguf.GGML_QUANT_SIZES[type_]
            if min(shape) < 1 or shape[-1] % block or offset % alignment or name in found:
                raise self._damaged(f"the tensor {name!r} of {type_.name}, shape {shape}, at {offset} cannot be")
            found[name] = Stored(self._path, shape, type_, offset, math.prod(shape) // block * size)
        start = -(-self._place // alignment) * alignment
        end, before = 0, ""
        for name, tensor in sorted(found.items(), key=lambda item: item[1].start):
            if tensor.start < end:
                raise self._damaged(f"the tensors {before!r} and {name!r} overlap")
            end, before = tensor.start + tensor.size, name
            if start + end > self._size:
                raise self._damaged(f"{name!r} ends at byte {start + end}, but it has {self._size}")
        return {name: tensor._replace(start=start + tensor.start) for name, tensor in found.items()}

    def _alignment(self, metadata: Metadata) -> int:
        alignment = metadata.get("general.alignment", gguf.GGUF_DEFAULT_ALIGNMENT)
        if type(alignment) is not int or not 0 < alignment <= 1 << 20 or alignment & (alignment - 1):
            raise self._damaged(f"its alignment is {alignment!r}")
        return alignment

    def _number(self, form: str) -> int:
        place, length = self._place, struct.calcsize(form)
        if place + length > self._size:
            raise self._damaged(f"its header ends after {self._size} bytes")
        self._place += length
        return struct.unpack_from(form, self._data, place)[0]

    def _text(self, name: str) -> str:
        length = self._number("<Q")
        raw = self._data[self._over(name, length) : self._place]
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise self._damaged(f"{name} is not text: {error}") from None

    def _numbers(self, name: str, kind: int, count: int) -> list[Any]:
        form = np.dtype(_NUMBERS[kind])
        raw = self._data[self._over(name, count * form.itemsize) : self._place]
        values = np.frombuffer(raw, form).tolist()
        if kind != _BOOL:
            return values
        if odd := [value for value in values if value > 1]:
            raise self._damaged(f"{name} is a truth value of {odd[0]}")
        return [bool(value) for value in values]

    def _skip(self, name: str, kind: int) -> None:
        if kind == _STRING:
            self._over(name, self._number("<Q"))
        elif kind in _NUMBERS:
            self._over(name, np.dtype(_NUMBERS[kind]).itemsize)
        elif kind == _ARRAY:
            of, count = self._number("<I"), self._number("<Q")
            if of in _NUMBERS:
                self._over(name, count * np.dtype(_NUMBERS[of]).itemsize)
            elif of == _STRING and count <= min(_MOST_STRINGS, (self._size - self._place) // 8):
                self._over_strings(name, count)
            else:
                raise self._damaged(f"{name} announces {count} values of type {of}")
        else:
            raise self._damaged(f"{name} is of type {kind}")

    def _over_strings(self, name: str, count: int) -> None:
        length, data, place, last = struct.Struct("<Q").unpack_from, self._data, self._place, self._size - 8
        for _ in range(count):  # hundreds of thousands: inline
            if place > last:
                raise self._damaged(f"{name} announces {count} texts, but ends before")
            place += 8 + length(data, place)[0]
        self._place = place
        self._over(name, 0)

    def _over(self, name: str, length: int) -> int:
        """Move on by ``length`` bytes; the place before."""
        if length > self._size - self._place:
            left = max(self._size - self._place, 0)
            raise self._damaged(f"{name} announces {length} bytes, but {left} are left")
        self._place += length
        return self._place - length

    def _damaged(self, what: str) -> PretrainedError:
        return PretrainedError(f"{self._path} is damaged or incomplete ({_short(what)}): get it again.")


@functools.cache
def _is_read(kind: gguf.GGMLQuantizationType) -> bool:
    """Whether the package can dequantise a type."""
    try:
        gguf.dequantize(np.zeros((1, gguf.GGML_QUANT_SIZES[kind][1]), np.uint8), kind)
    except NotImplementedError:
        return False
    return True


def _short(text: str, most: int = 300) -> str:
    """What a damaged file is quoted with may be a megabyte long."""
    return text if len(text) <= most else f"{text[:most]}..."
