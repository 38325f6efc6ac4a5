"""Rights that stay limited when what they were limited to is deleted.

Deleting a group takes it from its archives without a word to them. An archive that then
has none must not look like one that is open to all, so ``is_restricted`` remembers it.
"""

from __future__ import annotations

from typing import Any

from django.db.models import Model


def follow_choice(
    *,
    instance: Model,
    action: str,
    reverse: bool,
    model: type[Model],
    pk_set: set[int] | None,
    sender: type[Model],
    **_: Any,
) -> None:
    """Receiver of ``m2m_changed``: keeps ``is_restricted`` of whoever has the relation.

    Whatever is chosen restricts. Only taking the last choice from the owner itself opens
    it again; from the other side, nothing does.
    """
    if action == "post_add" and reverse:
        owners = model._default_manager.filter(pk__in=pk_set or ())
        owners.update(is_restricted=True)
    elif action == "post_add":
        set_restricted(instance, True)
    elif action in {"post_remove", "post_clear"} and not reverse:
        owner = f"{instance._meta.model_name}_id"
        left = sender._default_manager.filter(**{owner: instance.pk})
        set_restricted(instance, left.exists())


def set_restricted(instance: Any, is_restricted: bool) -> None:
    """Store it at once, and in the object, which may be saved as a whole later."""
    instance.is_restricted = is_restricted
    rows = type(instance)._default_manager.filter(pk=instance.pk)
    rows.update(is_restricted=is_restricted)
