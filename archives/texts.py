"""Marks texts of modules that know no Django; the pages that show them translate them."""


def gettext_noop(text: str) -> str:
    """The text itself, which ``make messages`` puts into the catalogues."""
    return text
