# SPDX-License-Identifier: Apache-2.0
"""What is done to brokers. Each fault is done and undone; its name says what, its line in the history when.

A fault is a function of (cluster, chance, topics) that returns the brokers it meant. It begins with a whole cluster and
may leave the waiting for a whole one to its caller. Nothing here waits without a bound.
"""
import itertools
import time

from cluster import NETWORKS, expect, wait_until

START_S = 120  # a start with recovery, on a machine that does other things too
SERVE_S = 60   # two of three serve again

FAULTS = {}
NEEDS_THREE = set()
BY_NAME = set()  # long ones, which are not among those that chance chooses from


def fault(f):
    FAULTS[f.__name__.replace('_', '-')] = f
    return f


def of_three(f):
    NEEDS_THREE.add(f.__name__.replace('_', '-'))
    return fault(f)


def leaders(cluster, topics):
    """Brokers that lead something."""
    found = {leader for t in topics for leader, _, _ in (cluster.partitions(t) or {}).values()}
    return [b for b in cluster.brokers if b.number in found] or cluster.brokers


def some_leader(cluster, chance, topics):
    return chance.choice(leaders(cluster, topics))


def back(cluster, brokers):
    cluster.start(brokers, START_S)


def serves(cluster, topics):
    """Each partition has a leader that lives."""
    alive = {b.number for b in cluster.brokers if b.alive() and not b.stopped}
    for t in topics:
        found = cluster.partitions(t)
        if not found or any(leader not in alive for leader, _, _ in found.values()):
            return False
    return True


def while_cut(cluster, chance, topics, networks, directions):
    b = some_leader(cluster, chance, topics)
    for n in networks:
        b.cut(n, directions)
    time.sleep(chance.uniform(0.2, 8))
    for n in networks:
        b.heal(n)
    return [b]


# ---- processes that end

@fault
def kill(cluster, chance, topics):
    b = some_leader(cluster, chance, topics)
    b.kill()
    time.sleep(chance.uniform(0, 3))
    back(cluster, [b])
    return [b]


@fault
def kill_again(cluster, chance, topics):
    """Once more while it starts: a crash in recovery changes nothing."""
    b = some_leader(cluster, chance, topics)
    b.kill()
    for _ in range(chance.randint(1, 3)):
        b.start()
        time.sleep(chance.uniform(0, 1.5))
        expect(b.alive(), f'broker {b.number} ended by itself:\n{b.text()}')
        b.kill()
    back(cluster, [b])
    return [b]


@fault
def restart(cluster, chance, topics):
    """As an operator does it."""
    b = some_leader(cluster, chance, topics)
    b.terminate()
    time.sleep(chance.uniform(0, 1))
    back(cluster, [b])
    return [b]


@of_three
def kill_follower(cluster, chance, topics):
    lead = leaders(cluster, topics)
    b = chance.choice([b for b in cluster.brokers if b not in lead] or cluster.brokers)
    b.kill()
    time.sleep(chance.uniform(0, 5))
    back(cluster, [b])
    return [b]


@of_three
def kill_two(cluster, chance, topics):
    two = chance.sample(cluster.brokers, 2)
    for b in two:
        b.kill()
        time.sleep(chance.choice((0, chance.uniform(0, 2))))
    time.sleep(chance.uniform(0, 3))
    back(cluster, [two[1]])
    wait_until('two of three serve', SERVE_S, lambda: serves(cluster, topics))
    back(cluster, [two[0]])
    return two


def kill_all_and_two_come(cluster, chance, topics, order):
    for b in cluster.brokers:
        b.kill()
    order[0].start()
    time.sleep(chance.uniform(0, 2))
    order[1].start()
    for b in order[:2]:
        wait_until(f'broker {b.number} is ready', START_S, b.ready)
    wait_until('two of three serve', SERVE_S, lambda: serves(cluster, topics))
    time.sleep(chance.uniform(0, 3))
    back(cluster, order[2:])
    return cluster.brokers


@of_three
def kill_all(cluster, chance, topics):
    """All at once; any two come back, in any order, and serve; then the third."""
    return kill_all_and_two_come(cluster, chance, topics, chance.sample(cluster.brokers, len(cluster.brokers)))


@of_three
def kill_all_in_every_order(cluster, chance, topics):
    for order in itertools.permutations(cluster.brokers):
        kill_all_and_two_come(cluster, chance, topics, order)
        wait_until('all are in sync', START_S, lambda: cluster.whole(topics))
    return cluster.brokers


BY_NAME.add('kill-all-in-every-order')


@of_three
def restart_each(cluster, chance, topics):
    """A rolling restart; the next one goes when all are whole again."""
    for b in chance.sample(cluster.brokers, len(cluster.brokers)):
        b.terminate()
        back(cluster, [b])
        wait_until('all are in sync', START_S, lambda: cluster.whole(topics))
    return cluster.brokers


# ---- processes that stand still

def while_paused(cluster, chance, b):
    b.pause()
    time.sleep(chance.uniform(0.2, 8))
    b.resume()
    return [b]


@fault
def pause(cluster, chance, topics):
    return while_paused(cluster, chance, some_leader(cluster, chance, topics))


@of_three
def pause_follower(cluster, chance, topics):
    lead = leaders(cluster, topics)
    return while_paused(cluster, chance, chance.choice([b for b in cluster.brokers if b not in lead] or cluster.brokers))


@of_three
def pause_all(cluster, chance, _topics):
    for b in cluster.brokers:
        b.pause()
    time.sleep(chance.uniform(0.2, 5))
    for b in chance.sample(cluster.brokers, len(cluster.brokers)):
        b.resume()
        time.sleep(chance.uniform(0, 1))
    return cluster.brokers


# ---- cables that are cut

def cut(name, networks, directions, kind):
    """A row of the table below is a fault of that name."""
    def f(cluster, chance, topics):
        return while_cut(cluster, chance, topics, networks, directions)
    f.__name__ = name
    kind(f)


cut('cut_data', ['data'], ('in', 'out'), fault)
cut('cut_data_in', ['data'], ('in',), fault)
cut('cut_data_out', ['data'], ('out',), fault)
cut('cut_management', ['management'], ('in', 'out'), of_three)
cut('cut_management_in', ['management'], ('in',), of_three)
cut('cut_management_out', ['management'], ('out',), of_three)
cut('cut_both', NETWORKS, ('in', 'out'), of_three)


@of_three
def cut_and_kill(cluster, chance, topics):
    """The one that is cut off goes on alone for a while, and dies before it hears what happened."""
    b = some_leader(cluster, chance, topics)
    for n in NETWORKS:
        b.cut(n)
    time.sleep(chance.uniform(0.5, 6))
    b.kill()
    for n in NETWORKS:
        b.heal(n)
    back(cluster, [b])
    return [b]
