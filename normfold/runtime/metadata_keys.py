"""Keys that normfold writes into the metadata of a model."""

SITES_KEY = "normfold.sites"
UNDONE_KEY = "normfold.undone"
VERSION_KEY = "normfold.version"
RUN_OPTIONS_KEY = "normfold.options"
ORIGINAL_KEY = "normfold.original"
