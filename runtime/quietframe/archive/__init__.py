"""Archives that outgrow one process: folders, lists of files and object stores, on Ray Data (extra `ray`)."""

from quietframe.archive.archive import Summary, classify_archive, denoise_archive

__all__ = ["Summary", "classify_archive", "denoise_archive"]
