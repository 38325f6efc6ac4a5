from django.apps import AppConfig
from django.db.models.signals import m2m_changed
from django.utils.translation import gettext_lazy as _


class ArchivesConfig(AppConfig):
    name = "archives"
    verbose_name = _("Imaging")  # one with the launcher to whoever administers them
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from archives.models import Archive
        from archives.restrictions import follow_choice

        m2m_changed.connect(follow_choice, sender=Archive.groups.through)
