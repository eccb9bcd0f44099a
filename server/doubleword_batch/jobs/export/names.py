"""Names of columns for SQL, which does not tell upper case from lower."""

from collections.abc import Iterable


def distinct(columns: Iterable[str], taken: Iterable[str] = ()) -> list[str]:
    """The names, later ones that differ from an earlier one by case only with a number."""
    seen = {name.lower() for name in taken}
    names: list[str] = []
    for column in columns:
        name, number = column, 2
        while name.lower() in seen:
            name, number = f"{column}_{number}", number + 1
        seen.add(name.lower())
        names.append(name)
    return names


def quoted(name: str) -> str:
    """The name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'
