"""The page at ``/``: one file, whose own style and script are all that a browser may load or run."""

import base64
import hashlib
import re
from importlib import resources

from starlette.requests import Request
from starlette.responses import Response

PAGE = resources.files(__package__).joinpath("page.html").read_text(encoding="utf-8")


def policy(html: str) -> str:
    """The Content-Security-Policy that allows what stands in a page, by hash, and requests to its own server."""

    def hashes(tag: str) -> str:
        parts = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        return " ".join(
            f"'sha256-{base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()}'" for part in parts
        )

    rules = {
        "default-src": "'none'",
        "script-src": hashes("script"),
        "style-src": hashes("style"),
        "img-src": "data:",  # the icon, which is empty
        "connect-src": "'self'",
        **dict.fromkeys(("base-uri", "form-action", "frame-ancestors"), "'none'"),
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


HEADERS = {
    "Content-Security-Policy": policy(PAGE),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


async def page(request: Request) -> Response:
    """``GET /``."""
    return Response(PAGE, media_type="text/html", headers=HEADERS)
