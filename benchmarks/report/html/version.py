"""What a page says of the version that made it, so that one that is up to date is not made again."""

from __future__ import annotations

import hashlib
from pathlib import Path

# 1: first version
VERSION = 1
"""Raised whenever a page would look different for the same report."""

MARK = "visiondeploy:report"
"""The name of the `meta` element that holds the digest."""

_BEGINNING = 4096


def digest(report_json: str, *more: str) -> str:
    """The SHA-256 of what a page is made of."""
    return hashlib.sha256("\n".join((f"page/{VERSION}", *more, report_json)).encode()).hexdigest()


def digest_of(page: Path) -> str | None:
    """The digest that a page was made of; None where there is no page, or one that is not ours."""
    try:
        with page.open("rb") as stream:
            beginning = stream.read(_BEGINNING).decode("utf-8", errors="replace")
    except OSError:
        return None
    before, found, after = beginning.partition(f'<meta name="{MARK}" content="')
    return after.split('"')[0] if found and before.startswith("<!doctype html>") else None
