"""`python main.py` trains the default experiment; `--help` says what can be changed."""

from learnsym.cli import main

if __name__ == "__main__":
    main()
