"""`python -m milr.cli` is the command `milr`."""

from milr.cli import main

if __name__ == "__main__":
    main()
