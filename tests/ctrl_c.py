"""For tests that stop a process the way a person does."""

import signal


def listen_to_ctrl_c() -> None:
    """For Popen's preexec_fn. A process in the background, such as a CI job, ignores SIGINT; children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
