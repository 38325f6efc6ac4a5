"""Well-known UIDs (PS3.6 Annex A) and the transfer syntaxes images are stored in."""

from __future__ import annotations

from typing import Final

from archives.clients.base import QueryRetrieveRoot

APPLICATION_CONTEXT: Final = "1.2.840.10008.3.1.1.1"
VERIFICATION: Final = "1.2.840.10008.1.1"

FIND: Final = {
    QueryRetrieveRoot.PATIENT: "1.2.840.10008.5.1.4.1.2.1.1",
    QueryRetrieveRoot.STUDY: "1.2.840.10008.5.1.4.1.2.2.1",
}
GET: Final = {
    QueryRetrieveRoot.PATIENT: "1.2.840.10008.5.1.4.1.2.1.3",
    QueryRetrieveRoot.STUDY: "1.2.840.10008.5.1.4.1.2.2.3",
}
MOVE: Final = {
    QueryRetrieveRoot.PATIENT: "1.2.840.10008.5.1.4.1.2.1.2",
    QueryRetrieveRoot.STUDY: "1.2.840.10008.5.1.4.1.2.2.2",
}

IMPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2"
EXPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1"
UNCOMPRESSED: Final = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)

# Every encoding an object may be stored in, the likely ones first: each gets a
# presentation context of its own, so that the archive converts nothing.
STORED: Final = (
    *UNCOMPRESSED,
    "1.2.840.10008.1.2.4.90",  # JPEG 2000, lossless
    "1.2.840.10008.1.2.4.91",  # JPEG 2000
    "1.2.840.10008.1.2.4.70",  # JPEG lossless, first-order prediction
    "1.2.840.10008.1.2.4.57",  # JPEG lossless
    "1.2.840.10008.1.2.4.50",  # JPEG baseline
    "1.2.840.10008.1.2.4.51",  # JPEG extended
    "1.2.840.10008.1.2.4.80",  # JPEG-LS, lossless
    "1.2.840.10008.1.2.4.81",  # JPEG-LS, near lossless
    "1.2.840.10008.1.2.5",  # RLE
    "1.2.840.10008.1.2.4.201",  # High-Throughput JPEG 2000, lossless
    "1.2.840.10008.1.2.4.202",  # High-Throughput JPEG 2000, lossless, RPCL
    "1.2.840.10008.1.2.4.203",  # High-Throughput JPEG 2000
    "1.2.840.10008.1.2.4.110",  # JPEG XL, lossless
    "1.2.840.10008.1.2.4.111",  # JPEG XL, recompressed JPEG
    "1.2.840.10008.1.2.4.112",  # JPEG XL
    "1.2.840.10008.1.2.4.92",  # JPEG 2000, part 2, lossless
    "1.2.840.10008.1.2.4.93",  # JPEG 2000, part 2
    "1.2.840.10008.1.2.4.100",  # MPEG-2, main level
    "1.2.840.10008.1.2.4.100.1",
    "1.2.840.10008.1.2.4.101",  # MPEG-2, high level
    "1.2.840.10008.1.2.4.101.1",
    "1.2.840.10008.1.2.4.102",  # MPEG-4 AVC/H.264
    "1.2.840.10008.1.2.4.102.1",
    "1.2.840.10008.1.2.4.103",
    "1.2.840.10008.1.2.4.103.1",
    "1.2.840.10008.1.2.4.104",
    "1.2.840.10008.1.2.4.104.1",
    "1.2.840.10008.1.2.4.105",
    "1.2.840.10008.1.2.4.105.1",
    "1.2.840.10008.1.2.4.106",
    "1.2.840.10008.1.2.4.106.1",
    "1.2.840.10008.1.2.4.107",  # HEVC/H.265
    "1.2.840.10008.1.2.4.108",
    "1.2.840.10008.1.2.1.98",  # encapsulated uncompressed
    "1.2.840.10008.1.2.1.99",  # deflated
    "1.2.840.10008.1.2.2",  # explicit VR big endian
    "1.2.840.10008.1.2.4.53",  # JPEG spectral selection, retired
    "1.2.840.10008.1.2.4.55",  # JPEG full progression, retired
    "1.2.840.113619.5.2",  # GE's, with big endian pixels
)
# Where the class of an object is not known, the usual ones have contexts of their own.
USUAL_COMPRESSED: Final = STORED[len(UNCOMPRESSED) : 11]
UNUSUAL_COMPRESSED: Final = STORED[11:]

# Objects that viewers show, the usual ones: for archives that do not say what class an
# instance is of. Each takes a presentation context per encoding.
USUAL_STORAGE_CLASSES: Final = tuple(
    f"1.2.840.10008.5.1.4.1.1.{suffix}"
    for suffix in (
        "1",  # Computed Radiography
        "1.1",  # Digital X-Ray, for presentation
        "1.1.1",
        "1.2",  # Digital Mammography, for presentation
        "1.2.1",
        "1.3",  # Digital Intra-Oral X-Ray, for presentation
        "1.3.1",
        "2",  # CT
        "2.1",  # Enhanced CT
        "2.2",
        "3.1",  # Ultrasound Multi-frame
        "4",  # MR
        "4.1",  # Enhanced MR
        "4.2",
        "4.3",
        "4.4",
        "6.1",  # Ultrasound
        "6.2",
        "7",  # Secondary Capture
        "7.1",
        "7.2",
        "7.3",
        "7.4",
        "9.1.1",  # 12-lead ECG
        "9.1.2",
        "11.1",  # Grayscale Softcopy Presentation State
        "11.2",
        "12.1",  # X-Ray Angiographic
        "12.1.1",
        "12.2",  # X-Ray Radiofluoroscopic
        "12.2.1",
        "13.1.1",
        "13.1.3",  # Breast Tomosynthesis
        "20",  # Nuclear Medicine
        "66.1",  # Spatial Registration
        "66.4",  # Segmentation
        "77.1.1",  # VL Endoscopic
        "77.1.1.1",
        "77.1.2",
        "77.1.2.1",
        "77.1.4",  # VL Photographic
        "77.1.4.1",
        "77.1.5.1",  # Ophthalmic Photography
        "77.1.5.4",  # Ophthalmic Tomography
        "77.1.6",  # VL Whole Slide Microscopy
        "88.11",  # Basic Text SR
        "88.22",  # Enhanced SR
        "88.33",  # Comprehensive SR
        "88.50",
        "88.59",  # Key Object Selection
        "88.67",  # X-Ray Radiation Dose SR
        "104.1",  # Encapsulated PDF
        "128",  # Positron Emission Tomography
        "130",
        "481.1",  # RT Image
        "481.2",  # RT Dose
        "481.3",  # RT Structure Set
        "481.5",  # RT Plan
    )
)

IMPLEMENTATION_CLASS: Final = "2.25.126335320016305423148235239061771829465"
IMPLEMENTATION_VERSION_NAME: Final = "VIEWERHUB"
