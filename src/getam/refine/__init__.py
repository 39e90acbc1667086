"""Image-guided refiners of maps, one file each."""
