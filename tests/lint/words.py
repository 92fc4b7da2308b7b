#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Words that must not be in the tree: local paths, promises instead of code, arguments that change between two looks."""
import pathlib
import re
import subprocess
import sys

FORBIDDEN = [(re.compile(r'(^|[^A-Za-z0-9_.])/(work|farm|root|home/[a-z]+)/'), 'a local path'),
             (re.compile(r'\b(TO' r'DO|FIX' r'ME|X' r'XX)\b'), 'an unkept promise')]
TWICE = (re.compile(r'TIDE_M(IN|AX)\(.*(atomic|peek|next\(|free_count|random)'), 'an argument that is evaluated twice')
CODE = ('.c', '.h', '.py', '.sh', '.build', '.def', '.conf', '.json', '.mjs', '.js')


def main(root):
    listed = subprocess.run(['git', '-C', str(root), 'ls-files'], capture_output=True, text=True)
    names = listed.stdout.split() if listed.returncode == 0 else [
        p.relative_to(root).as_posix() for p in root.glob('**/*') if p.is_file() and not p.parts[len(root.parts)].startswith(('build', '.git'))]
    wrong = 0
    for name in names:
        path = root / name
        if not name.endswith(CODE) or name.endswith('lint/words.py') or not path.is_file():
            continue
        for number, line in enumerate(path.read_text(encoding='utf-8', errors='replace').splitlines(), 1):
            for pattern, what in FORBIDDEN + ([TWICE] if name.endswith(('.c', '.h')) else []):
                if pattern.search(line):
                    print(f'{name}:{number}: {what}: {line.strip()[:100]}')
                    wrong += 1
    return 1 if wrong else 0


if __name__ == '__main__':
    sys.exit(main(pathlib.Path(sys.argv[1])))
