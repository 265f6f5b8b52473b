"""The command line, ``tornado-sse``. Needs ``pip install 'tornado-sse[cli]'``.

- ``config``: the settings file
- ``serve``: the server
- ``source``: lines of files and pipes
- ``events``: from lines to events
- ``sender``: where they are sent
- ``publish``: all three together
- ``visible``: what may go to a terminal
- ``asked``: what a request carries
- ``printer``: events on stdout
- ``tail``: reading them
- ``probe``: what is wrong with a server
- ``plugins``: serializers and backends
- ``demo``: a page for a first look
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from tornado_sse.cli.demo import demo
from tornado_sse.cli.plugins import plugins
from tornado_sse.cli.probe import probe
from tornado_sse.cli.publish import publish
from tornado_sse.cli.serve import serve
from tornado_sse.cli.tail import tail
from tornado_sse.errors import SSEError

__all__ = ["main"]


@click.group(no_args_is_help=False)
@click.version_option(package_name="tornado-sse", message="%(package)s %(version)s")
def _commands() -> None:
    """Server-Sent Events from the command line."""


for _command in (serve, publish, tail, probe, plugins, demo):
    _commands.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit code.

    :arg arguments: those of the command line; None for this process's own.

    What goes wrong is said in one line on stderr: 1 is the exit code for what was refused, 2 for a command
    line that makes no sense, 130 for an interruption; the commands have others for reasons of their own.
    """
    try:
        code = _commands.main(arguments, prog_name="tornado-sse", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "tornado-sse"
        return _complain(f"{error.format_message().rstrip('.')}. See {where} --help", error.exit_code)
    except click.ClickException as error:
        return _complain(error.format_message(), error.exit_code)
    except click.Abort:
        return 130
    except SSEError as error:
        return _complain(str(error), 2)
    except BrokenPipeError:
        # Whoever read what is printed has gone. Python would say so when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        return _complain(str(error), 1)


def _complain(reason: str, code: int) -> int:
    print("tornado-sse: " + " ".join(reason.split()), file=sys.stderr)
    return code
