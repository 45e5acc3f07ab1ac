"""Start of ``python -m edgevpr`` and of the ``edgevpr`` command: signals, then everything else."""


def main() -> None:
    """Run the command line, after a signal can no longer end it without a word."""
    from edgevpr.cli.process import end_at_once

    end_at_once()
    from edgevpr.cli.main import main as run

    run()


if __name__ == "__main__":
    main()
