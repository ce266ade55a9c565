"""`python -m perdure` is the `perdure` command."""

from perdure.cli.main import entry

if __name__ == "__main__":
    entry()
