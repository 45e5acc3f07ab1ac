"""Check of FAISS search parameters before FAISS gets them: it crashes on some, in the search."""

#: Parameters that may be 0: no limit, or off. Every other one counts what is looked at.
_FROM_ZERO = ("ht", "max_codes", "verbose")
_MOST = 2**31 - 1


def parameters_problem(parameters: str, count: int) -> str:
    """Why a string like ``nprobe=16,k_factor_rf=4`` cannot be used, or ''.

    Names are left to FAISS, which knows its indexes.

    Args:
        count: images in the index; refinement cannot look at more than them, and would ask for
            the memory.
    """
    for each in parameters.split(",") if parameters else ():
        name, equals, text = (part.strip() for part in each.partition("="))
        least = 0 if name in _FROM_ZERO else 1
        most = max(count, 1) if name.startswith("k_factor") else _MOST
        if not name or not equals:
            return f"{each!r} is not NAME=VALUE"
        try:
            value = float(text)
        except ValueError:
            return f"{text!r} is no number"
        if not least <= value <= most:  # NaN, too
            return f"{name} is {text}, not {least} to {most}"
        if not (value.is_integer() or name.startswith("k_factor")):
            return f"{name} is {text}, not a whole number"
    return ""
