"""Archives as their vendors document them: paging, limits, status codes, logins, habits.

Each module is one product, written from its documentation and not from ``presets``. A
server counts what it had to refuse, so that a test can tell whether the hub asked for
anything the product does not offer.
"""
