"""A session of MariaDB with a temporary table and a variable of its own, that commits rows for ever."""

from __future__ import annotations

import os
import subprocess
import sys

COMMAND = ["mariadb", "--no-defaults", "-h", "127.0.0.1", "-P", "3306", "-u", "root", "-NBn", "--skip-reconnect"]

with open("/data/starts", "a") as starts:
    starts.write("start\n")
session = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)


def ask(question: str) -> list[str]:
    """The lines of the answer."""
    assert session.stdin is not None
    assert session.stdout is not None
    session.stdin.write(f"{question}; select 'end';\n")
    session.stdin.flush()
    lines: list[str] = []
    while (line := session.stdout.readline()) != "end\n":
        if not line:
            sys.exit("the session has ended")
        lines.append(line.rstrip("\n"))
    return lines


ask("create database woodfrog; use woodfrog; create table kept (n int primary key, text varchar(200)) engine=innodb")
ask("create temporary table own (n int) engine=memory; set @last = 0")
connection = ask("select connection_id()")
number = 0
while True:
    number += 1
    ask(f"begin; insert into kept values ({number}, repeat('{number % 10}', 150)); insert into own values ({number})")
    ask("set @last = @last + 1; commit")
    assert ask("select @last, connection_id()") == [f"{number}\t{connection[0]}"]
    assert ask("select count(*), max(n) from own") == [f"{number}\t{number}"]
    if number % 20 == 0:
        assert ask("select count(*), sum(length(text)) from kept") == [f"{number}\t{150 * number}"]
    with open("/data/next", "w") as output:
        output.write(f"{number}\n")
    os.rename("/data/next", "/data/count")
