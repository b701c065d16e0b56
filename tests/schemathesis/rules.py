"""Prints the number of applications of each rule in rules.json. A code without documentation in docs/operations.md is an error."""

import collections
import json
import pathlib
import sys

here = pathlib.Path(__file__).parent
rules = json.loads((here / "rules.json").read_text())
table = (here / "../../docs/operations.md").read_text().split("## Problem codes", 1)[1].split("\n## ", 1)[0]
used = collections.Counter(map(int, pathlib.Path(sys.argv[1]).read_text().split()))
wrong = 0
for place, rule in enumerate(rules):
    print(f"{used[place]:6}  {rule['status']} {rule['code']}  {rule['route']} {rule.get('field', '')}: {rule['why']}")
    if f"`{rule['code']}`" not in table:
        print(f"        {rule['code']} is not among the problem codes of docs/operations.md", file=sys.stderr)
        wrong = 1
sys.exit(wrong)
