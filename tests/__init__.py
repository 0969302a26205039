"""A package, since one of OpenMMLab's dependencies installs another one of this name."""
