"""What is fed in: files that were right once and were then damaged, and JSON of the right words.

A maker is a function that makes an input by a `random.Random`, so a number repeats it. Hypothesis
would shrink better; drawing its decisions takes it thirty times as long as most readers take to
read, and here the number of inputs is what finds something.
"""

import json

# Bytes at which readers turn: quotes, brackets, lengths, signs, ends, halves of characters.
BYTES = [
    b"\0", b"\xff", b"\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xc2", b'"', b"'", b"\\", b"\r",
    b"\n", b"\r\n", b",", b";", b"\t", b"{", b"}", b"[", b"]", b"<", b">", b"&", b"/", b"=", b"-1",
    b"1e400", b"9" * 400, b"NaN", b"null", b"\\ud800", b"\\u0000", b"{{", b"}}", b"{%", b"\x1b[2J",
    b"\xff" * 8, b"\0" * 8, b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"[" * 300, b'{"a":' * 300,
    "\u202e".encode(), "\U000e0041".encode(), "\u0085".encode(), "\u2028".encode(),
]  # fmt: skip


def damaged(samples, words=(), most=6):
    """One of the samples after up to `most` edits, each of a kind that files meet."""
    words = [*BYTES, *words]

    def make(chance):
        data = bytearray(chance.choice(samples))
        for _ in range(chance.randint(0, most)):
            at = chance.randint(0, len(data))
            length = chance.choice([0, 1, 2, 4, 16, 256])
            match chance.randint(0, 6):
                case 0:
                    data[at : at + length] = chance.choice(words)
                case 1:
                    data[at:at] = chance.choice(words)
                case 2:
                    del data[at : at + length]
                case 3:
                    data[at : at + 1] = chance.randbytes(chance.randint(1, 4))
                case 4:
                    data[at:at] = data[at : at + length] * chance.choice([1, 2, 50])
                case 5 if chance.random() < 0.3:
                    del data[at:]
                case 6:
                    other = chance.choice(samples)
                    data[at:] = other[chance.randint(0, len(other)) :]
        return bytes(data)

    return make


SCALARS = [
    None, True, False, 0, 1, -1, 7, 200, 404, 429, 700, 0.5, -1.0, 1e308, 200.0, 10**30, -(10**400),
    2**63, 2**31, "", "a", "b", "\0", "\ud800", "200", "429", "{}", "null", "[1]", "\x1b[2J", "\n",
    "\u202e", "\U000e0041", "é" * 99, "x" * 3000, "=1+1", "http://169.254.169.254/", "../x", "NaN",
]  # fmt: skip


def values(words, depth=4):
    """JSON of any shape whose members are named by the words."""

    def make(chance, left=depth):
        kind = chance.random()
        if left == 0 or kind < 0.4:
            return chance.choice(SCALARS if chance.random() < 0.6 else words)
        several = range(chance.randint(0, 3))
        if kind < 0.6:
            return [make(chance, left - 1) for _ in several]
        return {chance.choice(words): make(chance, left - 1) for _ in several}

    return make


def grafted(samples, words):
    """One of the samples, JSON, in which some members were replaced, dropped or doubled."""
    new = values(words)

    def make(chance):
        value = json.loads(json.dumps(chance.choice(samples)))
        for _ in range(chance.randint(1, 3)):
            holder, key = _place(value, chance)
            if holder is None:
                return new(chance)
            match chance.randint(0, 4):
                case 0:
                    del holder[key]
                case 1:
                    holder[key] = json.dumps(holder[key])
                case 2:
                    holder[key] = [holder[key], holder[key]]
                case 3 if isinstance(holder, dict):
                    holder[chance.choice(words)] = new(chance)
                case _:
                    holder[key] = new(chance)
        return value

    return make


def encoded(make):
    """The same as JSON in bytes."""
    return lambda chance: json.dumps(make(chance)).encode()


def one_of(*makers):
    """Any of them."""
    return lambda chance: chance.choice(makers)(chance)


def together(*makers):
    """One of each, as a tuple."""
    return lambda chance: tuple(make(chance) for make in makers)


def any_of(choices):
    """One of these values."""
    return lambda chance: chance.choice(choices)


def _place(value, chance):
    """A member of a value, chosen by chance: what holds it, and its name or number there."""
    holder, key, node = None, None, value
    while isinstance(node, dict | list) and node:
        keys = list(node) if isinstance(node, dict) else range(len(node))
        holder, key = node, chance.choice(keys)
        node = node[key]
        if chance.random() < 0.3:
            break
    return holder, key
