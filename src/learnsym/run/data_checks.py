"""Images or point clouds: what goes with which, said before any data are read."""
