# SPDX-License-Identifier: Apache-2.0
"""What is a case, and what cases ask of a broker before they go on."""
CASES = []
OF_EACH_PORT = set()


def case(f):
    """What has nothing to do with the kind of the port: on one kind (af_xdp), on both with TIDE_FULL=1."""
    CASES.append(f)
    return f


def case_of_each_port(f):
    """Bytes in bulk and in odd sizes, starts and ends, loss, links, cores, captures, pools: rings and offloads differ."""
    OF_EACH_PORT.add(f)
    return case(f)


def healthy(w, topic='health'):
    path = w.dir / 'health'
    path.write_text('alive\n')
    w.produce(topic, path, '-X', 'acks=all', timeout=60)
