"""Files of problems, whatever their format: each record with its place, for sentences about what is wrong with it."""

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn


def records(path: Path) -> Iterator[tuple[str, Any]]:
    """The objects of a .json (one object or a list of them), .jsonl or .parquet file, or the lines of a .txt file.

    Each comes with its place, such as "line 3". Where the name goes on with .gz, the file is compressed.

    Raises:
      ValueError: it cannot be read.
    """
    packed = path.suffix == ".gz"
    suffix = Path(path.stem).suffix if packed else path.suffix
    try:
        if suffix == ".parquet":
            import pyarrow.parquet as parquet  # takes a while, and few datasets need it

            unit, content = "record", parquet.read_table(path).to_pylist()
        else:
            raw = gzip.decompress(path.read_bytes()) if packed else path.read_bytes()
            text = raw.decode("utf-8-sig").replace("\r\n", "\n")  # with or without a byte-order mark
            if suffix == ".json":
                unit, content = "record", _json(text)
                content = content if isinstance(content, list) else [content]
            else:
                unit, content = "line", [line.strip() for line in text.split("\n")]
    except (OSError, EOFError, zlib.error, ValueError) as error:  # pyarrow's and json's own errors are of these kinds
        raise ValueError(f"{path} cannot be read: {error}") from error
    for i, record in enumerate(content, start=1):
        if unit == "line" and not record:
            continue
        if unit == "line" and suffix != ".txt":
            try:
                record = _json(record)
            except ValueError as error:
                raise ValueError(f"{path} cannot be read: line {i} is not JSON: {error}") from error
        yield f"{unit} {i}", record


def _json(text: str) -> Any:
    """Strict JSON: Python's own reader would take NaN and Infinity.

    Raises:
      ValueError: it is none; says where.
    """

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not a JSON value; remove it.")

    try:
        return json.loads(text, parse_constant=refuse)
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if "\n" in text else ""
        raise ValueError(f"{error.msg} ({line}column {error.colno}).") from error
    except RecursionError:
        raise ValueError("it is nested too deeply.") from None
