"""The command `token new`: a token, and the line that lets its owner in."""

from __future__ import annotations

import argparse
import json

from supernet.commandline import Parser, UsageError


def add_commands(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add `token` with what it can do."""
    parser = commands.add_parser("token", help="make a token that lets a caller in")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB", parser_class=Parser)
    new = verbs.add_parser(
        "new",
        help="make one",
        description="Prints a new token, which is kept nowhere, and the line for the file that "
        "`serve --tokens` reads, which holds only its hash.",
    )
    new.add_argument("name", metavar="NAME", help="whose it is, as logs will name its calls")
    new.add_argument(
        "--rights", default="infer", metavar="LIST", help="of infer,fetch,report; infer by default"
    )
    new.add_argument("--json", action="store_true", help="print one JSON object")
    new.set_defaults(run=_new)


def _new(arguments: argparse.Namespace) -> int:
    from gateway.security.identities import RIGHTS, line_of
    from gateway.security.tokens import new_token

    asked = arguments.rights.split(",")
    if not set(asked) <= set(RIGHTS):
        raise UsageError(f"rights: expected some of {','.join(RIGHTS)}, got {arguments.rights!r}")
    rights = [right for right in RIGHTS if right in asked]
    try:
        token = new_token(arguments.name)
    except ValueError as error:
        raise UsageError(str(error)) from None
    line = line_of(arguments.name, token, rights)
    if arguments.json:
        print(json.dumps({"name": arguments.name, "token": token, "line": line}))
    else:
        print(f"token, for the client (it is not shown again):\n{token}")
        print(f"line, for the file of `serve --tokens`:\n{line}")
    return 0
