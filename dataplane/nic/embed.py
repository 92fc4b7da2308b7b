# SPDX-License-Identifier: Apache-2.0
"""embed.py NAME INPUT OUTPUT: the bytes of INPUT as a C array NAME_bytes with NAME_size."""
import sys

name, source, target = sys.argv[1:]
with open(source, "rb") as f:
    data = f.read()
rows = [", ".join(f"0x{b:02x}" for b in data[i:i + 16]) for i in range(0, len(data), 16)]
with open(target, "w", encoding="ascii") as f:
    f.write(f"static const unsigned {name}_size = {len(data)};\n")
    f.write(f"static const unsigned char {name}_bytes[] = {{\n")
    f.write(",\n".join(rows or ["0"]))
    f.write("};\n")
