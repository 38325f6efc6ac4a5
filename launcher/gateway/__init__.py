"""Images for viewers, opened by a launch's image token.

Archive credentials stay in the hub. A token opens what its launch's manifest lists and
nothing else; everything else is 404, whether it exists or not.
"""

from launcher.gateway.dicomweb import dicomweb
from launcher.gateway.images import file, wado_uri

__all__ = ["dicomweb", "file", "wado_uri"]
