"""The built-in archive: serves DICOM files of a folder to C-FIND, C-GET and C-MOVE.

For the demo and the tests. It holds an index in memory, reads the files when they are
retrieved, and changes nothing. By default it serves the files that pydicom brings.
"""

from archives.embedded.index import Index, Level, bundled_files
from archives.embedded.server import EmbeddedArchive, Query

__all__ = ["EmbeddedArchive", "Index", "Level", "Query", "bundled_files"]
