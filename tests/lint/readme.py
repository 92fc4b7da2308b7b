#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The README's list of APIs and versions is that of dispatch.c, row by row.   readme.py ROOT"""
import pathlib
import re
import sys

root = pathlib.Path(sys.argv[1])
readme = ' '.join((root / 'README.md').read_text().split())
rows = re.findall(r'\{KAFKA_API_\w+, \d+, (\d+), (\d+), .*, "(\w+)"\}', (root / 'dataplane/broker/dispatch.c').read_text())
told = {name: versions for name, versions in re.findall(r'\b([A-Z][A-Za-z]+) (\d+(?:-\d+)?)(?=[,.:; ])', readme)}
wrong = [f'{name} {v}, and the README says {told.get(name, "nothing")}' for first, last, name in rows
         for v in [first if first == last else f'{first}-{last}'] if told.get(name) != v]
print('\n'.join(wrong))
sys.exit(1 if wrong or len(rows) < 30 else 0)
