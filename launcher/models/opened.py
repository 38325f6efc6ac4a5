"""Which studies a build found: what its launches opened, for those who audit them."""

from __future__ import annotations

from django.db import models

from archives.models import Archive
from launcher.models.launches import Build


class OpenedStudy(models.Model):
    """A study that one archive gave a build, by its identifiers alone."""

    build = models.ForeignKey(Build, models.CASCADE, related_name="opened_studies")
    archive = models.ForeignKey(Archive, models.CASCADE)
    study_instance_uid = models.CharField(max_length=64, db_index=True)
    accession_number = models.CharField(max_length=64, blank=True, db_index=True)
    patient_id = models.CharField(max_length=64, blank=True, db_index=True)
    issuer_of_patient_id = models.CharField(max_length=64, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["build", "archive", "study_instance_uid"],
                name="one_opened_study_per_archive",
            )
        ]

    def __str__(self) -> str:
        return str(self.pk)
