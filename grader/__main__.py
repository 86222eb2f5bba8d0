"""The `grader` command."""

from grader.commands.app import main

if __name__ == "__main__":
    main()
