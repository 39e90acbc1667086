"""`getam doctor`: what of this machine and this installation is in the way of getam, found without running a verb."""
