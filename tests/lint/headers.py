#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every header compiles alone."""
import concurrent.futures
import os
import pathlib
import subprocess
import sys

FLAGS = ['-std=gnu17', '-fsyntax-only', '-D_GNU_SOURCE', '-Wall', '-Wextra', '-Wno-unused-parameter', '-Werror', '-x', 'c']


def main(root, build):
    dpdk = subprocess.run(['pkg-config', '--cflags', 'libdpdk'], capture_output=True, text=True, check=True).stdout.split()
    dpdk = [f.replace('-I', '-isystem', 1) if f.startswith('-I') else f for f in dpdk]
    paths = [f'-I{root}/include', f'-I{root}/dataplane', f'-I{root}/control', f'-I{root}', f'-I{root}/tests/unit',
             f'-I{root}/tests/sim', f'-I{build}/dataplane']

    def compile_one(header):
        r = subprocess.run([os.environ.get('CC', 'cc'), *FLAGS, *paths, *dpdk, str(header)], capture_output=True, text=True)
        return header, r.returncode, r.stderr

    headers = [h for top in ('include', 'dataplane', 'control', 'tests') for h in sorted((root / top).glob('**/*.h'))]
    wrong = 0
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for header, code, text in pool.map(compile_one, headers):
            if code:
                wrong += 1
                print(f'{header.relative_to(root)} does not compile alone:\n{text}')
    return 1 if wrong else 0


if __name__ == '__main__':
    sys.exit(main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])))
