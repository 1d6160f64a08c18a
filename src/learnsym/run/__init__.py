"""One run: composing, checking, launching, its directory, and reading what it has trained."""
