"""Groups: a group of commands whose list tells each command's whole first sentence, on a terminal of any width."""

from __future__ import annotations

import click


class Group(click.Group):
    """Click cuts a command's sentence where the line ends; here it goes on in the next one."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        known = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, command.get_short_help_str(10_000)) for name, command in known if command and not command.hidden]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)
