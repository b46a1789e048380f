"""Numbers of large annotation files, read by a compiled loop.

A program that writes a million instances writes all of them alike: the same keys in the same order. So the first entry
gives a template, and the loop follows it through the file and takes the numbers in between. It gives up on anything
that does not fit (another order, a string, a number with more digits than a double has); the caller then parses in the
general way. Numbers are rounded exactly as the standard library rounds them, or the loop gives up.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_models.compiled import carray, kernel

Array = NDArray[np.float64]
_POWER = 80  # decimal exponents that the loop handles: -80 .. 80
_NUMBER = 0  # in a template: a number stands here


Scanned = tuple[NDArray[np.int64], NDArray[np.int64], dict[str, Array]]


def scan(content: bytes, widths: Mapping[str, int], many: bool) -> Scanned | None:
    """Image ids (I,), entries per image (I,) and a column (N, width) per key; None where the loop gives up.

    Args:
        content: JSON object that holds, by image id, an entry or (`many`) a list of entries.
        widths: keys that an entry must have; 0 for a number, n for a list of n numbers.
    """
    first = _first_entry(content)
    if first is None or any(_width(first.get(key)) != width for key, width in widths.items()):
        return None
    sizes = [_width(value) for value in first.values()]
    if None in sizes:
        return None
    fields = [f'"{key}":' + (f"[{','.join(chr(_NUMBER) * size)}]" if size else chr(_NUMBER))
              for key, size in zip(first, sizes, strict=True)]  # fmt: skip
    template = np.frombuffer(("{" + ",".join(fields) + "}").encode(), np.uint8)
    columns = [max(size or 0, 1) for size in sizes]
    text = np.frombuffer(content, np.uint8)
    entries = int(np.count_nonzero(text == ord("{"))) - 1
    images = int(np.count_nonzero(text == ord(":"))) - entries * len(first)
    if entries < 1 or images < 1:
        return None
    numbers = np.empty((entries, sum(columns)))
    im_ids, counts = np.empty(images, np.int64), np.empty(images, np.int64)
    found = _scan(np.frombuffer(content, np.uint8), len(content), template, len(template), int(many), _powers(),
                  numbers, sum(columns), entries, im_ids, counts, images)  # fmt: skip
    if found != images or counts.sum() != entries or len(np.unique(im_ids)) != images:
        return None
    starts = np.cumsum([0, *columns]).tolist()
    taken = {key: numbers[:, start : start + size] for key, start, size in zip(first, starts, columns, strict=False)}
    return im_ids, counts, {key: taken[key] for key in widths}


def compile_ahead() -> None:
    """Compile the loop, or load it: before processes are forked that would each do it."""
    _scan.compile()


def _first_entry(content: bytes) -> dict[str, Any] | None:
    """The first entry of the file, decoded; None where there is none."""
    start = content.find(b"{", 1)
    stop = content.find(b"}", start)
    try:
        entry = json.loads(content[start : stop + 1]) if start > 0 else None
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and entry else None


def _width(value: Any) -> int | None:
    """0 of a number, n of a list of n numbers, None of anything else."""
    if isinstance(value, list) and value and all(_width(item) == 0 for item in value):
        return len(value)
    return 0 if isinstance(value, int | float) and not isinstance(value, bool) else None


@functools.cache
def _powers() -> Array:
    """(2, 161): each power of ten as the sum of two doubles."""
    exact = [Fraction(10) ** exponent for exponent in range(-_POWER, _POWER + 1)]
    high = [float(value) for value in exact]
    return np.array([high, [float(value - Fraction(h)) for value, h in zip(exact, high, strict=True)]])


@kernel("i8", "u1*", "i8", "u1*", "i8", "i8", "f8*", "f8*", "i8", "i8", "i8*", "i8*", "i8")
def _scan(
    text_p: Any, size: int, template_p: Any, template_size: int, many: int, powers_p: Any, numbers_p: Any, width: int,
    entries: int, ids_p: Any, counts_p: Any, images: int,
) -> int:  # fmt: skip
    """Number of images read, -1 where something does not fit."""
    text, template = carray(text_p, size), carray(template_p, template_size)
    powers, numbers = carray(powers_p, (2, 161)), carray(numbers_p, (entries, width))
    ids, counts = carray(ids_p, images), carray(counts_p, images)
    at, image, entry = 0, 0, 0
    # Where the loop is: 0 before the object, 1 before a key, 2 in a list, 3 behind an image, 4 behind an entry, 5 end.
    state = 0
    while True:
        while at < size and (text[at] == 32 or text[at] == 10 or text[at] == 13 or text[at] == 9):
            at += 1
        if at == size:
            return image if state == 5 else -1
        c = text[at]
        if state == 0:
            if c != 123:  # {
                return -1
            at, state = at + 1, 1
            continue
        if state == 5:
            return -1
        if state == 3:
            if c == 44:  # ,
                at, state = at + 1, 1
                continue
            if c != 125:  # }
                return -1
            at, state = at + 1, 5
            continue
        if state == 4:
            if c == 44:
                at, state = at + 1, 2
                continue
            if c != 93:  # ]
                return -1
            at, image, state = at + 1, image + 1, 3
            continue
        if state == 1:  # "12":
            if c != 34 or image == images:
                return -1
            at += 1
            value, digits = 0, 0
            while at < size and 48 <= text[at] <= 57:
                value, digits, at = value * 10 + (text[at] - 48), digits + 1, at + 1
            if digits == 0 or digits > 17 or at == size or text[at] != 34:
                return -1
            at += 1
            while at < size and (text[at] == 32 or text[at] == 10 or text[at] == 13 or text[at] == 9):
                at += 1
            if at == size or text[at] != 58:  # :
                return -1
            ids[image], counts[image] = value, 0
            at += 1
            if not many:
                state = 2
                continue
            while at < size and (text[at] == 32 or text[at] == 10 or text[at] == 13 or text[at] == 9):
                at += 1
            if at == size or text[at] != 91:  # [
                return -1
            at += 1
            while at < size and (text[at] == 32 or text[at] == 10 or text[at] == 13 or text[at] == 9):
                at += 1
            if at < size and text[at] == 93:  # an image without entries
                at, image, state = at + 1, image + 1, 3
            else:
                state = 2
            continue
        # An entry: follow the template.
        if entry == entries:
            return -1
        column, quoted = 0, False
        for place in range(template_size):
            while not quoted and at < size and (text[at] == 32 or text[at] == 10 or text[at] == 13 or text[at] == 9):
                at += 1
            if at == size:
                return -1
            if template[place] != 0:
                if text[at] != template[place]:
                    return -1
                quoted ^= template[place] == 34  # spaces inside a key are part of it
                at += 1
                continue
            negative = text[at] == 45
            if negative:
                at += 1
            mantissa, exponent, first = 0, 0, at
            while at < size and 48 <= text[at] <= 57 and mantissa < 100000000000000000:
                mantissa, at = mantissa * 10 + (text[at] - 48), at + 1
            if at == first or (at - first > 1 and text[first] == 48) or at >= size:
                return -1
            is_whole = True
            if text[at] == 46:  # .
                at, is_whole, first = at + 1, False, at + 1
                while at < size and 48 <= text[at] <= 57 and mantissa < 100000000000000000:
                    mantissa, exponent, at = mantissa * 10 + (text[at] - 48), exponent - 1, at + 1
                if at == first or at >= size:
                    return -1
            if text[at] == 101 or text[at] == 69:  # e, E
                at, is_whole = at + 1, False
                sign = 1
                if at < size and (text[at] == 45 or text[at] == 43):
                    sign, at = 44 - text[at], at + 1
                power, first = 0, at
                while at < size and 48 <= text[at] <= 57 and power < 1000:
                    power, at = power * 10 + (text[at] - 48), at + 1
                if at == first or at >= size:
                    return -1
                exponent += sign * power
            if 48 <= text[at] <= 57 or exponent < -80 or exponent > 80:
                return -1
            # mantissa * 10^exponent in twice the precision of a double (Dekker's product); the result is certain if
            # both ends of the interval that surely holds it round to the same number (Ziv's test).
            a = float(mantissa)
            a_low = float(mantissa - np.int64(a))
            b, b_low = powers[0, exponent + 80], powers[1, exponent + 80]
            product = a * b
            t = 134217729.0 * a
            a_high = t - (t - a)
            a_rest = a - a_high
            t = 134217729.0 * b
            b_high = t - (t - b)
            b_rest = b - b_high
            error = ((a_high * b_high - product) + a_high * b_rest + a_rest * b_high) + a_rest * b_rest
            error += a * b_low + a_low * b
            doubt = product * 3.1554436208840472e-30  # 2^-98
            result = product + (error - doubt)
            if result != product + (error + doubt):
                return -1
            if negative and (mantissa != 0 or not is_whole):
                result = -result
            numbers[entry, column] = result
            column += 1
        entry += 1
        counts[image] += 1
        if many:
            state = 4
        else:
            image, state = image + 1, 3
