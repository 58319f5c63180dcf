"""Keys that normfold writes into the metadata of a model."""

SITES_KEY = "normfold.sites"
