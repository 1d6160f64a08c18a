"""What `mode=` may be: one file a value, each with a class on `learnsym.run.mode`."""
