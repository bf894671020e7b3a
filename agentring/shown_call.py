"""A tool call as a user is shown it who is to consent to it.

Guarantees: what is shown is what would be called: of equal names the last, as every reader of JSON has it; nothing is
hidden by white space, by characters that are not seen or that turn text around, or by a cut that is not told.
"""

import json

_MOST_CHARS = 2_000


def shown_call(name: str, arguments: str) -> str:
    """In one line. arguments: as the model wrote them, which need not be JSON.

    assert shown_call("pay", '{"amount":    7}') == 'pay({"amount": 7})'
    """
    try:
        found = json.loads(arguments)
        said = json.dumps(found, ensure_ascii=False, separators=(",", ":"))
        if said != arguments:  # else as the model wrote it
            said = json.dumps(found, ensure_ascii=False)
    except (ValueError, RecursionError):
        said = " ".join(arguments.split())
    said = "".join(each if each.isprintable() else f"\\u{ord(each):04x}" for each in said[: _MOST_CHARS + 1])
    more = len(said) - _MOST_CHARS
    return f"{name}({said})" if more <= 0 else f"{name}({said[:_MOST_CHARS]} … and more than can be shown)"
