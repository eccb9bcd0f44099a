"""Result lines that stand together on one line, or have something around them.

Gateways write a list in place of lines, leave the line break out where they join files, end lines
with CR alone, or put `data: ` in front of each. Such a line is no JSON; the objects in it are.
"""

import re

_MARKS = re.compile(rb'\\.|["{}]', re.DOTALL)


def objects_in(line: bytes) -> list[bytes]:
    """The objects that stand side by side in a line, in order; none for one that is cut."""
    found: list[bytes] = []
    depth = begin = 0
    in_string = False
    for mark in _MARKS.finditer(line):
        sign = mark[0]
        if sign == b'"':
            in_string = depth > 0 and not in_string
        elif in_string or len(sign) > 1:
            continue
        elif sign == b"{":
            begin = begin if depth else mark.start()
            depth += 1
        elif depth:
            depth -= 1
            if not depth:
                found.append(line[begin : mark.end()])
    return found
