"""The text of a value as the tool that wrote it shows it: what prompts and tables have to show."""

import datetime as dt
import math
from decimal import Decimal

import numpy as np
import pyarrow as pa

from doubleword_batch.sources.values import as_text


def text_of(value, kind=None):
    """The text of a value in Python, of an Arrow type where there is one."""
    return as_text(plain(value, kind))


def plain(value, kind=None):
    """A value with the texts of dates, times and decimals in place of them, at any depth."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    if kind is not None and (nested := _nested(value, kind)) is not None:
        return nested[0]
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return _single(value)


def _nested(value, kind):
    """A value of a nested or narrow Arrow type, as the only item of a tuple."""
    if pa.types.is_dictionary(kind):
        return (plain(value, kind.value_type),)
    if pa.types.is_float16(kind) or pa.types.is_float32(kind):
        narrow = np.float16 if pa.types.is_float16(kind) else np.float32
        return (float(str(narrow(value))),)
    if pa.types.is_struct(kind):
        return ({field.name: plain(value[field.name], field.type) for field in kind},)
    if pa.types.is_map(kind):
        pairs = value.items() if isinstance(value, dict) else value
        return ({text_of(key): plain(inner, kind.item_type) for key, inner in pairs},)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return ([plain(inner, kind.value_type) for inner in value],)
    return None


def _single(value):
    if isinstance(value, dt.datetime):
        in_utc = value if value.tzinfo is None else value.astimezone(dt.UTC)
        day, time = str(in_utc.replace(tzinfo=None)).split(" ")
        return f"{day} {_short(time)}" + ("+00:00" if value.tzinfo else "")
    if isinstance(value, dt.timedelta):
        return elapsed(value)
    if isinstance(value, dt.time):
        return _short(value.isoformat())
    if isinstance(value, dt.date):
        return str(value)
    if isinstance(value, Decimal):
        return format(value, "f")
    return value.item() if isinstance(value, np.generic) else value


def _short(time):
    """A time without the zeros at the end of its second's parts."""
    return time.rstrip("0").removesuffix(".") if "." in time else time


def elapsed(duration):
    seconds = abs(duration) // dt.timedelta(seconds=1)
    parts = abs(duration).microseconds
    sign = "-" if duration < dt.timedelta() else ""
    text = f"{sign}{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return f"{text}.{parts:06}" if parts else text
