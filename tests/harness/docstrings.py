"""The examples in docstrings: the paragraphs that are code."""

import ast
import textwrap
from types import CodeType


def example(doc: str) -> str:
    """The paragraphs of a docstring that are code."""
    paragraphs = [textwrap.dedent(part) for part in doc.split("\n\n")[1:]]
    return "\n\n".join(part for part in paragraphs if _is_code(part))


def compiled(code: str, name: str, then: str = "") -> CodeType:
    """A module with the code as the async function `example`. then: a line after it."""
    body = textwrap.indent("\n".join(filter(None, (code, then))), "    ")
    return compile(f"async def example():\n{body}", name, "exec")


def _is_code(text: str) -> bool:
    try:
        body = ast.parse(f"async def example():\n{textwrap.indent(text, '    ')}")
    except SyntaxError:
        return False
    return len(body.body) == 1
