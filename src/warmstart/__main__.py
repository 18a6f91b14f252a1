"""``python -m warmstart``: the command line, where its script is not on the path."""

from warmstart.cli import main

if __name__ == "__main__":
    main()
