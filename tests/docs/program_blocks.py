"""Runs the Python blocks of a page from top to bottom in one namespace; prints what each printed, as JSON."""

import io
import json
import re
import sys
from contextlib import redirect_stdout
from pathlib import Path

path = Path(sys.argv[1])
namespace: dict[str, object] = {}
printed = []
for source in re.findall(r"^```python\n(.*?)^```$", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
    with redirect_stdout(io.StringIO()) as out:
        exec(compile(source, path.name, "exec"), namespace)
    printed.append(out.getvalue())
print(json.dumps(printed))
