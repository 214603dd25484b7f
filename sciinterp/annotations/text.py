"""The bounded reader of text, JSON and XML, as the parsers of annotations import it."""

from __future__ import annotations

from sciinterp.readers.bounded import guard, need, open_bytes, read_json, read_lines, read_xml, whole

__all__ = ["guard", "need", "open_bytes", "read_json", "read_lines", "read_xml", "whole"]
